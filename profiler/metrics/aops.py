"""A static cost: sum over layers of MACs x activation bits x weight bits (RADARS, Eq. 1)."""

from __future__ import annotations

from profiler.metrics._base import Metric
from search_spaces._costs import static_costs
from search_spaces._graph import Graph


class Aops(Metric):
    """Sum over layers of MACs x activation bits x weight bits (RADARS, Eq. 1)."""

    dimension = "count"
    stored_as = "aops"
    measured = False
    description = "sum over layers of MACs x activation bits x weight bits (RADARS, Eq. 1)"

    def of_graph(self, graph: Graph) -> float:
        """Return the count."""
        return float(static_costs(graph).aops)
