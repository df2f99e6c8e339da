"""What networks of layers in a row cost on the average, exactly, under independent distributions over candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces._graph import Block, TensorSpec

Array = NDArray[np.float64]
#: The name of a call, and its block.
NamedBlock = tuple[str, Block]
#: The blocks of a candidate by the type of the tensor that it reads.
Reader = Callable[[TensorSpec], Sequence[NamedBlock]]


@dataclass(frozen=True, eq=False)
class ChainCost:
    """A cost that is a sum over layers, where that of a layer may depend on the candidate of the layer before it.

    `fixed` is what every network costs; `rows` what each candidate of a layer adds, shape (candidates,); `pairs` what
    neighbours add together, shape (candidates of the layer, candidates of the next), or None: then nothing. All have
    the unit of the cost of a block.
    """

    fixed: float
    rows: tuple[Array, ...]
    pairs: tuple[Array | None, ...]

    def of(self, shares: Sequence[Array]) -> float:
        """Return the expectation under one distribution a layer, each of shape (candidates,)."""
        total = self.fixed + sum(float(row @ share) for row, share in zip(self.rows, shares, strict=True))
        for pair, before, after in zip(self.pairs, shares[:-1], shares[1:], strict=True):
            if pair is not None:
                total += float(before @ pair @ after)
        return total


def chain_cost_of(
    stem: Sequence[NamedBlock], layers: Iterable[Sequence[Reader]], head: Reader, cost: Callable[[Block], float]
) -> ChainCost:
    """Return the cost of a chain whose layers have these candidates; `cost` is asked once for each block.

    The type of a candidate's result does not depend on what it reads.
    """
    prices: dict[Block, float] = {}

    def total(named: Sequence[NamedBlock]) -> float:
        for _, block in named:
            if block not in prices:
                prices[block] = float(cost(block))
        return sum(prices[block] for _, block in named)

    rows: list[Array] = []
    pairs: list[Array | None] = []
    before: Sequence[TensorSpec] = (stem[-1][1].output,)
    for readers in layers:
        table = _table(readers, before, total)
        alike = bool((table == table[0]).all())
        rows.append(table[0] if alike else np.zeros(len(readers)))
        pairs.append(None if alike else table)
        before = [reader(before[0])[-1][1].output for reader in readers]
    rows[-1] = rows[-1] + _table((head,), before, total)[:, 0]
    return ChainCost(total(stem), tuple(rows), tuple(pairs[1:]))


def _table(readers: Sequence[Reader], before: Sequence[TensorSpec], total: Callable[..., float]) -> Array:
    """Return the cost of each candidate behind each of the layer before, shape (before, candidates).

    Many candidates give results of few types: only those make a difference.
    """
    types = list(dict.fromkeys(before))
    found = np.array([[total(reader(spec)) for reader in readers] for spec in types])
    return found[[types.index(spec) for spec in before]]
