"""A static cost: multiply-adds of convolutions and linear layers."""

from __future__ import annotations

from profiler.metrics._base import Metric
from search_spaces._costs import block_costs, static_costs
from search_spaces._graph import Block, Graph


class Macs(Metric):
    """Multiply-adds of convolutions and linear layers."""

    dimension = "count"
    stored_as = "macs"
    measured = False
    description = "multiply-adds of convolutions and linear layers"

    def of_graph(self, graph: Graph) -> float:
        """Return the count."""
        return float(static_costs(graph).macs)

    def of_block(self, block: Block) -> float:
        """Return the count of one block."""
        return float(block_costs(block).macs)
