"""The time of one inference by the clock of the GPU."""

from __future__ import annotations

from hilnas.errors import UsageError
from profiler.metrics._base import Metric, not_static
from search_spaces._graph import Graph


class EventLatency(Metric):
    """Median time between two events on the GPU around one call; the caller's own overhead is left out."""

    dimension = "time"
    stored_as = "event_latency_s"
    measured = True
    description = "median time of one inference by the GPU's own clock"

    def of_graph(self, graph: Graph) -> float:
        """Raise UsageError: only a device knows."""
        raise UsageError(not_static("event_latency"))
