"""A static cost: trainable parameters."""

from __future__ import annotations

from profiler.metrics._base import Metric
from search_spaces._costs import block_costs, static_costs
from search_spaces._graph import Block, Graph


class Params(Metric):
    """Trainable parameters."""

    dimension = "count"
    stored_as = "params"
    measured = False
    description = "trainable parameters"

    def of_graph(self, graph: Graph) -> float:
        """Return the count."""
        return float(static_costs(graph).params)

    def of_block(self, block: Block) -> float:
        """Return the count of one block."""
        return float(block_costs(block).params)
