"""A static cost: trainable parameters."""

from __future__ import annotations

from profiler.metrics._base import Metric
from search_spaces._costs import static_costs
from search_spaces._graph import Graph


class Params(Metric):
    """Trainable parameters."""

    dimension = "count"
    stored_as = "params"
    measured = False
    description = "trainable parameters"

    def of_graph(self, graph: Graph) -> float:
        """Return the count."""
        return float(static_costs(graph).params)
