"""A static cost: sum over layers of MACs x activation bits x weight bits (RADARS, Eq. 1)."""

from __future__ import annotations

from profiler.metrics._base import Metric
from search_spaces._costs import Activation, aops
from search_spaces._graph import Graph


class Aops(Metric):
    """Sum over layers of MACs x activation bits x weight bits (RADARS, Eq. 1).

    `activation` says whose bits those of the activations are: `input`, of what a layer reads (the paper), or `output`,
    of its own result (the code of the paper's authors). Floating-point layers, such as the head of a quantised network,
    count only where a network has no others.
    """

    dimension = "count"
    stored_as = "aops"
    measured = False
    description = "sum over layers of MACs x activation bits x weight bits (RADARS, Eq. 1; the bits a layer reads)"

    def __init__(self, activation: Activation = "input") -> None:
        self.activation: Activation = activation

    def of_graph(self, graph: Graph) -> float:
        """Return the count."""
        return float(aops(graph, self.activation))
