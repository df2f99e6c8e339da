"""Multiply-adds: the trivial baseline that every indicator must be shown next to."""

from __future__ import annotations

from typing import ClassVar

from search_spaces._costs import static_costs
from search_spaces._graph import Graph
from searchers.evaluators.zero_cost._base import Build, Indicator


class Macs(Indicator):
    """Multiply-adds of the network as it is trained, operators that never reach the output included."""

    cost = "a count over the graph, 0.1 ms"
    shared: ClassVar[bool] = False

    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return the multiply-adds."""
        return float(static_costs(graph).macs)
