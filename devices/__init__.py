"""Where code runs: one public module a device kind."""
