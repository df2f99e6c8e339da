"""A peer: a random forest for each class of kernel; the time of a network is the sum over its kernels.

The scheme of nn-Meter (Zhang et al., MobiSys 2021), whose kernels are found by tests on a device; here they are the
blocks of our graphs, and all kernels of a class in all networks of a call are predicted at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from search_spaces._costs import block_costs
from search_spaces._graph import Block

Array = NDArray[np.float64]
_TREES = 100


@dataclass(frozen=True, eq=False)
class Kernels:
    """The kernels of n networks: class -> features of every kernel, shape (k, 6), and whose each is, shape (k,)."""

    n: int
    of_class: dict[str, tuple[Array, NDArray[np.intp]]]


class KernelForests:
    """Forests of one space, fitted on the seconds of many blocks."""

    def __init__(self, space: SearchSpace, blocks: Sequence[Block], latency_s: Sequence[float], seed: int) -> None:
        self._space = space
        self._features = {block: _features(block) for block in space.blocks()}
        self._forests: dict[str, RandomForestRegressor] = {}
        for kind in sorted({block.kind for block in space.blocks()}):
            places = [i for i, block in enumerate(blocks) if block.kind == kind]
            forest = RandomForestRegressor(_TREES, random_state=seed, n_jobs=1)
            self._forests[kind] = forest.fit([_features(blocks[i]) for i in places], [latency_s[i] for i in places])

    def kernels(self, architectures: Sequence[Architecture]) -> Kernels:
        """Return every kernel of the live graphs."""
        found: dict[str, tuple[list[Array], list[int]]] = {}
        for i, architecture in enumerate(architectures):
            for call in self._space.graph(architecture).live().calls:
                rows, owners = found.setdefault(call.block.kind, ([], []))
                rows.append(self._features[call.block])
                owners.append(i)
        stacked = {kind: (np.stack(rows), np.array(owners)) for kind, (rows, owners) in found.items()}
        return Kernels(len(architectures), stacked)

    def predict_kernels(self, kernels: Kernels) -> Array:
        """Return the seconds of networks, shape (n,)."""
        total = np.zeros(kernels.n)
        for kind, (rows, owners) in kernels.of_class.items():
            total += np.bincount(owners, self._forests[kind].predict(rows), kernels.n)
        return total

    def predict(self, architectures: Sequence[Architecture]) -> Array:
        """Return the seconds of networks, shape (n,)."""
        return self.predict_kernels(self.kernels(architectures))


def _features(block: Block) -> Array:
    """Return channels and sides of what a block reads and writes, its multiply-adds and the bytes it writes."""
    before, after = block.inputs[0].shape, block.output.shape
    costs = block_costs(block)
    return np.array([before[1], before[-1], after[1], after[-1], costs.macs, costs.activation_bytes], float)
