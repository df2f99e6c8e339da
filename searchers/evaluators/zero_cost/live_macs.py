"""Multiply-adds of what is alive: the stronger trivial baseline."""

from __future__ import annotations

from typing import ClassVar

from search_spaces._costs import static_costs
from search_spaces._graph import Graph
from searchers.evaluators.zero_cost._base import Build, Indicator


class LiveMacs(Indicator):
    """Multiply-adds of the operators on a path from input to output."""

    cost = "a count over the graph, 0.2 ms"
    shared: ClassVar[bool] = False

    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return the multiply-adds of the live part."""
        return float(static_costs(graph.live()).macs)
