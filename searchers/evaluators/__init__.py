"""Where accuracy comes from: one public module an evaluator."""
