"""Blocks as the entries of lookup tables: counted in a graph, found by key, measured on their own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache

from hilnas.errors import UsageError
from search_spaces._base import SearchSpace
from search_spaces._graph import Block, Call, Graph, Operator

#: Between the keys of two blocks that are measured one after the other.
_THEN = ">"


def lookup_counts(graph: Graph, live: bool = True) -> Counter[str]:
    """Return lookup key -> number of uses, of the live graph unless told otherwise; constants are not counted."""
    counted: Counter[str] = Counter()
    for block, n in (graph.live() if live else graph).block_counts.items():
        if block.inputs:
            counted[block.key] += n
    return counted


def find_block(space: SearchSpace, key: str) -> Block:
    """Return the block of a lookup key, or of that of a pair; raise UsageError for a key of another space."""
    first, then, second = key.partition(_THEN)
    if then:
        return pair_block(find_block(space, first), find_block(space, second))
    for block in space.blocks():
        if block.key == key:
            return block
    raise UsageError(f"{space.name} has no block {key!r}", "It belongs to another space or to other options.")


def pair_key(first: Block, second: Block) -> str:
    """Return the key under which two blocks one after the other are measured."""
    return f"{first.key}{_THEN}{second.key}"


@lru_cache(maxsize=4096)
def pair_block(first: Block, second: Block) -> Block:
    """Return two blocks as one: the second reads the first's result.

    Further inputs of the second (of a sum) are further inputs of the pair where they have the type of its first one,
    else they read the first's result as well. Raises ValueError where the second cannot read that.
    """
    if second.inputs[0] != first.output:
        raise ValueError(f"{second.key} cannot read the result of {first.key}")
    result = f"a_{first.operators[-1].name}"
    sources = {"in0": result}
    inputs = list(first.inputs)
    for i, spec in enumerate(second.inputs[1:], start=1):
        sources[f"in{i}"] = f"in{len(inputs)}" if spec == first.inputs[0] else result
        if spec == first.inputs[0]:
            inputs.append(spec)
    own = {f"in{i}": f"in{i}" for i in range(len(first.inputs))}
    operators = (*_renamed(first, "a_", own), *_renamed(second, "b_", sources))
    return Block(f"{first.kind}{_THEN}{second.kind}", tuple(inputs), operators)


def _renamed(block: Block, prefix: str, sources: dict[str, str]) -> list[Operator]:
    """Return the operators of a block with a prefix to their names, reading its inputs from `sources`."""
    names = {**{operator.name: prefix + operator.name for operator in block.operators}, **sources}
    return [
        replace(item, name=names[item.name], inputs=tuple(names[name] for name in item.inputs))
        for item in block.operators
    ]


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
