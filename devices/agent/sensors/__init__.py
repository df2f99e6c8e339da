"""What an agent can read about the state of its machine: one public module a source."""
