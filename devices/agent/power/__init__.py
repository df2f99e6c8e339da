"""Power states a machine can be put into while it is measured, and out of afterwards: one public module a state."""
