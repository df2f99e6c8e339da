"""The runtimes an agent can measure with: one public module a runtime."""
