"""Measuring: build, run, judge, record."""
