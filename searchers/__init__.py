"""Choosing: one public module a searcher."""
