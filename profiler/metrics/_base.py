"""The contract of a metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from statistics import median
from typing import ClassVar, Literal

from hilnas.records import Purpose
from search_spaces._graph import Block, Graph


class Metric(ABC):
    """Something a network costs: its dimension (hilnas.units), and whether it is measured or follows from the graph."""

    dimension: ClassVar[str]
    #: The name of its readings and of its fields in every answer, with the SI unit.
    stored_as: ClassVar[str]
    #: Whether a device has to be asked.
    measured: ClassVar[bool]
    description: ClassVar[str]
    #: Whether less or more of it is better.
    direction: ClassVar[Literal["lower", "higher"]] = "lower"
    #: What an invocation is for in which it is read, and the command that asks for such invocations.
    purpose: ClassVar[Purpose] = "latency"
    asked_with: ClassVar[str] = "hilnas profile DEVICE"

    @abstractmethod
    def of_graph(self, graph: Graph) -> float:
        """Return the value that follows from the graph; raise UsageError for a measured metric."""

    def of_block(self, block: Block) -> float | None:
        """Return what a block adds to the value of a graph, None where that is no sum over blocks."""
        return None

    def combine(self, values: Sequence[float]) -> float:
        """Return one value for a workload from one value an invocation, at least one of them."""
        return float(median(values))


def not_static(name: str) -> str:
    """Return the text for a metric that only a device can tell."""
    return f"{name} is measured: it does not follow from the graph"
