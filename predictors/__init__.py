"""Guessing: one public module a predictor."""
