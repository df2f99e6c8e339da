"""The time of one inference, as the caller sees it."""

from __future__ import annotations

from hilnas.errors import UsageError
from profiler.metrics._base import Metric, not_static
from search_spaces._graph import Graph


class Latency(Metric):
    """Median wall time of one call, batch as in the workload."""

    dimension = "time"
    stored_as = "latency_s"
    measured = True
    description = "median wall time of one inference"

    def of_graph(self, graph: Graph) -> float:
        """Raise UsageError: only a device knows."""
        raise UsageError(not_static("latency"))
