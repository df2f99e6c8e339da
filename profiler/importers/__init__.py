"""Tables of other tools: one public module a format."""
