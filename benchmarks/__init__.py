"""Figures against peers and limits: `python -m benchmarks.NAME [--json] [--quick]`."""
