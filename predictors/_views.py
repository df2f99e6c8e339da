"""Architectures as rows of numbers, computed once an architecture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hilnas.records import Architecture, canonical_json
from predictors._graph_choice import GRAPHS, costed_blocks
from predictors._graph_features import mode_features
from predictors._kernels import kernel_features
from search_spaces._base import SearchSpace
from search_spaces._costs import static_costs
from search_spaces._features import physical_features
from search_spaces._graph import Graph

Matrix = NDArray[np.float64]

#: Graphs that are kept while their views are made.
GRAPHS_KEPT = 256


def views_of(space: SearchSpace) -> Views:
    """Return the views of a space; predictors of the same space and options share them and their rows."""
    return _views(type(space), canonical_json(dict(space.options)))


@lru_cache(maxsize=4)
def _views(kind: type[SearchSpace], options: str) -> Views:
    return Views(kind(**json.loads(options)))


class Views:
    """The views of a space that predictors learn from.

    connected    1 where the output depends on the input, else 0; shape (n, 1)
    runtime      physical features and kernels of the graph a runtime is left with
    kernels      the kernels of the graph a runtime is left with alone
    modes        what a runtime has to do, for each graph it may run, one after the other
    costed       how often every block is paid for in each of GRAPHS, one graph after the other
    as_trained   uses of every block (none where graphs are traced) with nothing removed, and the encoding: for
                 devices that run dead operators too
    encoding     one-hot decisions
    macs         multiply-adds of the live graph and of the graph as trained; shape (n, 2)
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._rows: dict[tuple[str, Architecture], Matrix] = {}
        blocks = () if space.traced else space.blocks()
        self._places = {block.key: i for i, block in enumerate(blocks)}
        self._chain = bool(space.choices())
        self._graph = lru_cache(maxsize=GRAPHS_KEPT)(space.graph)
        self._make: dict[str, Callable[[Architecture], Matrix]] = {
            "connected": lambda item: np.array([float(self._graph(item).connected)]),
            "runtime": self._runtime,
            "as_trained": self._as_trained,
            "modes": lambda item: mode_features(self._graph(item)).ravel(),
            "kernels": lambda item: kernel_features(self._graph(item)),
            "costed": self._costed,
            "encoding": space.encode,
            "macs": self._macs,
        }

    def __reduce__(self) -> tuple[Callable[[SearchSpace], Views], tuple[SearchSpace]]:
        """Go to another process as the views of the space: rows are computed there anew."""
        return views_of, (self._space,)

    def matrix(self, view: str, architectures: Sequence[Architecture]) -> Matrix:
        """Return the rows of a view, shape (n, features of the view)."""
        return np.stack([self._row(view, item) for item in architectures])

    def connected(self, architectures: Sequence[Architecture]) -> NDArray[np.bool_]:
        """Return which outputs depend on the input, shape (n,): that of a chain always does."""
        if self._chain:
            return np.ones(len(architectures), bool)
        return self.matrix("connected", architectures)[:, 0] > 0

    def _row(self, view: str, architecture: Architecture) -> Matrix:
        key = (view, architecture)
        if key not in self._rows:
            if len(self._rows) >= _MAX_ROWS:
                self._rows.clear()
            self._rows[key] = self._make[view](architecture)
        return self._rows[key]

    def _runtime(self, architecture: Architecture) -> Matrix:
        graph = self._graph(architecture)
        return np.concatenate([physical_features(graph), kernel_features(graph)])

    def _as_trained(self, architecture: Architecture) -> Matrix:
        return np.concatenate([self._blocks(self._graph(architecture)), self._space.encode(architecture)])

    def _blocks(self, graph: Graph) -> Matrix:
        """Return the uses of every block, in the order of `space.blocks()`; constants are no blocks."""
        counts = np.zeros(len(self._places))
        if self._space.traced:
            return counts
        for block, n in graph.block_counts.items():
            if block.inputs:
                counts[self._places[block.key]] += n
        return counts

    def _costed(self, architecture: Architecture) -> Matrix:
        found = np.zeros((len(GRAPHS), len(self._places)))
        if self._space.traced:
            return found.ravel()
        for name, counts in costed_blocks(self._graph(architecture)).items():
            for block, n in counts.items():
                found[GRAPHS.index(name), self._places[block.key]] = n
        return found.ravel()

    def _macs(self, architecture: Architecture) -> Matrix:
        graph = self._graph(architecture)
        live: Graph | None = graph.live() if graph.connected else None
        return np.array([static_costs(live).macs if live else 0, static_costs(graph).macs], float)


#: What a predictor needs of every cell of NAS-Bench-201 fits, in about 60 MB.
_MAX_ROWS = 100_000
