"""Searches that train on pictures: one public module a search."""
