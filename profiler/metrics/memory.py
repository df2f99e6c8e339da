"""The host memory that a model and its runtime need at most."""

from __future__ import annotations

from collections.abc import Sequence

from hilnas.errors import UsageError
from profiler.metrics._base import Metric, not_static
from search_spaces._graph import Graph


class Memory(Metric):
    """Peak resident memory of a fresh worker over what it used before the model was loaded; the largest invocation."""

    dimension = "bytes"
    stored_as = "peak_bytes"
    measured = True
    description = "peak host memory of loading and running a model"

    def combine(self, values: Sequence[float]) -> float:
        """Return the largest: a peak is a bound."""
        return float(max(values))

    def of_graph(self, graph: Graph) -> float:
        """Raise UsageError: only a device knows."""
        raise UsageError(not_static("memory"))
