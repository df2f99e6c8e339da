"""What is built: one public module a search space; one graph, many views."""
