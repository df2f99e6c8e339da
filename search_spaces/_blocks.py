"""Blocks as the entries of lookup tables: counted in a graph, found by key, measured on their own."""

from __future__ import annotations

from collections import Counter

from hilnas.errors import UsageError
from search_spaces._base import SearchSpace
from search_spaces._graph import Block, Call, Graph


def lookup_counts(graph: Graph, live: bool = True) -> Counter[str]:
    """Return lookup key -> number of uses, of the live graph unless told otherwise; constants are not counted."""
    counted: Counter[str] = Counter()
    for block, n in (graph.live() if live else graph).block_counts.items():
        if block.inputs:
            counted[block.key] += n
    return counted


def find_block(space: SearchSpace, key: str) -> Block:
    """Return the block of a lookup key; raise UsageError for a key of another space."""
    for block in space.blocks():
        if block.key == key:
            return block
    raise UsageError(f"{space.name} has no block {key!r}", "It belongs to another space or to other options.")


def block_graph(block: Block, repeat: int = 1) -> Graph:
    """Return a network of `repeat` copies of a block, one after the other.

    Further inputs of a block (of a sum) are fed with the network's input. More than one copy needs a block whose
    inputs all have the type of its output; ValueError otherwise.
    """
    if repeat > 1 and any(spec != block.output for spec in block.inputs):
        raise ValueError(f"{block.key} changes the shape and cannot be chained")
    calls: list[Call] = []
    last = "input"
    for i in range(repeat):
        others = ("input",) * (len(block.inputs) - 1)
        calls.append(Call(f"copy{i}", block, (last, *others)))
        last = f"copy{i}"
    return Graph(block.inputs[0], tuple(calls))
