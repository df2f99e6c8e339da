"""The GPU memory that a call needs at most."""

from __future__ import annotations

from collections.abc import Sequence

from hilnas.errors import UsageError
from profiler.metrics._base import Metric, not_static
from search_spaces._graph import Graph


class GpuMemory(Metric):
    """Peak of what the runtime has allocated on the GPU at once; the largest invocation."""

    dimension = "bytes"
    stored_as = "gpu_peak_bytes"
    measured = True
    description = "peak GPU memory of one inference, by the runtime's allocator"

    def combine(self, values: Sequence[float]) -> float:
        """Return the largest: a peak is a bound."""
        return float(max(values))

    def of_graph(self, graph: Graph) -> float:
        """Raise UsageError: only a device knows."""
        raise UsageError(not_static("gpu_memory"))
