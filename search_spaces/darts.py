"""DARTS (Liu et al., ICLR 2019): a normal and a reduction cell of four nodes, each the sum of two operations.

A node reads two different ones of the cell's two inputs and the nodes before it; the cell's output is all four nodes,
one behind the other. Cells are stacked as published: the reduction cells stand at one and two thirds of the depth,
halve the resolution and double the channels. The skeleton is the one for pictures of CIFAR's size or that for
ImageNet, without the auxiliary head: the network that is deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._darts_blocks import Skeleton, blocks_of, graph_of, row_costs_of, supergraph_of
from search_spaces._darts_cells import (
    CELL_CHOICES,
    EDGES,
    INCOMING,
    NODES,
    OPERATIONS,
    architecture_of,
    cells_of,
    decisions_of,
    genotype_of,
    read_cells,
)
from search_spaces._graph import Block, Graph
from search_spaces._supergraph import Share, Supergraph, Supernet, SupernetSpace


class Darts(SupernetSpace):
    """The cell space of DARTS."""

    name = "darts"
    small: ClassVar[Mapping[str, Any]] = {"cells": 8, "width": 16, "resolution": 16}

    def __init__(
        self,
        *,
        width: int = 36,
        cells: int = 20,
        imagenet: int = 0,
        resolution: int | None = None,
        classes: int | None = None,
        batch: int = 1,
    ) -> None:
        """Set the skeleton: channels of the first cell, number of cells, pictures.

        Those are of CIFAR's size (32, 10 classes), or with `imagenet=1` of 224 (1000 classes), whose stem halves the
        resolution three times. The resolution is a multiple of 4, or then of 32.
        """
        if imagenet not in (0, 1):
            raise UsageError("darts: imagenet is 0 or 1")
        resolution = (224 if imagenet else 32) if resolution is None else resolution
        classes = (1000 if imagenet else 10) if classes is None else classes
        factor = 32 if imagenet else 4
        if min(width, cells, resolution, classes, batch) < 1 or width % 2 or resolution % factor:
            raise UsageError(
                f"darts needs positive options, an even width and a resolution that is a multiple of {factor}"
            )
        self._skeleton = Skeleton(width, cells, imagenet, resolution, classes, batch)

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the constructor's keywords."""
        return dict(vars(self._skeleton))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Return the choices of the two cells: node by node the pair it reads, two operations."""
        return CELL_CHOICES * 2

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return (batch, 3, resolution, resolution)."""
        return self._skeleton.input.shape

    def architecture(self, decisions: tuple[int, ...]) -> Architecture:
        """Return the network of decisions, in the order of `cardinalities`."""
        sizes = self.cardinalities
        if len(decisions) != len(sizes) or any(
            item not in range(size) for item, size in zip(decisions, sizes, strict=True)
        ):
            raise UsageError(
                f"{decisions!r} are no decisions of darts", f"{len(sizes)} indices below {sizes} are expected."
            )
        return architecture_of(tuple(map(int, decisions)))

    def parse(self, text: str) -> Architecture:
        """Return the network of a text, or of a genotype as the authors' code prints it."""
        return architecture_of(decisions_of(read_cells(text.strip().removeprefix("darts:"))))

    def genotype(self, architecture: Architecture) -> str:
        """Return the cells as the authors' code names them."""
        return genotype_of(architecture.decisions)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return a network whose decisions are drawn uniformly."""
        return architecture_of(tuple(int(rng.integers(size)) for size in self.cardinalities))

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a network with another choice in one decision."""
        decisions, sizes = list(architecture.decisions), self.cardinalities
        place = int(rng.integers(len(sizes)))
        decisions[place] = (decisions[place] + int(rng.integers(1, sizes[place]))) % sizes[place]
        return architecture_of(tuple(decisions))

    def connected(self, architecture: Architecture) -> bool:
        """Return True: the first node reads both inputs of its cell, and no operation is zero."""
        return True

    def enumerate(self) -> Iterator[Architecture]:
        """Raise UsageError: there are 1.1e18."""
        count = float(np.prod(np.array(self.cardinalities, float)))
        raise UsageError(f"darts has {count:.1e} networks", "", "Draw some: --samples N")

    def canonical(self, architecture: Architecture) -> str:
        """Return the text: sources are in order, and the order of nodes is that of their channels."""
        return architecture.text

    def encode(self, architecture: Architecture) -> NDArray[np.float64]:
        """Return one-hot decisions, shape (150,)."""
        pairs = zip(architecture.decisions, self.cardinalities, strict=True)
        return np.concatenate([np.eye(size)[item] for item, size in pairs])

    def graph(self, architecture: Architecture) -> Graph:
        """Return the whole network; a skip that changes nothing is not called."""
        return graph_of(self._skeleton, cells_of(architecture.decisions))

    def supergraph(self, style: Supernet) -> Supergraph:
        """Return the supernet: rows 0 to 13 are the edges of normal cells, 14 to 27 those of reduction cells.

        Choice 0 of an edge is none, the others are OPERATIONS. With partial channels the rows from 28 on are the shares
        of the edges into each node. Poolings are normalised, as in the authors' search.
        """
        return supergraph_of(self._skeleton, style)

    def row_costs(self, cost: Callable[[Block], float]) -> tuple[float, list[NDArray[np.float64]]]:
        """Return what every network costs, and what a share of 1 of each choice adds (rows of `supergraph`).

        `cost` is that of one block (DCA-NAS, Eq. 3). A network keeps 8 of 14 edges of a cell: the expectation over
        all rows may lie above or below what is derived.
        """
        return row_costs_of(self._skeleton, cost)

    def derive(self, shares: Sequence[NDArray[np.float64]]) -> Architecture:
        """Return the architecture of distributions (rows of `supergraph`): at each node the two strongest edges.

        An edge is as strong as its strongest operation that is not none, times its own share where there is one.
        """
        cells = []
        for kind in range(2):
            cell = []
            for node, edges in enumerate(INCOMING):
                found = [shares[kind * EDGES + edge][1:] for edge in edges]
                of_edges = shares[2 * EDGES + kind * NODES + node] if len(shares) > 2 * EDGES else np.ones(len(edges))
                strengths = np.array([row.max() for row in found]) * of_edges
                first, second = sorted(np.argsort(-strengths, kind="stable")[:2].tolist())
                cell.append(tuple((OPERATIONS[int(found[i].argmax())], i) for i in (first, second)))
            cells.append(tuple(cell))
        return architecture_of(decisions_of(cells))  # type: ignore[arg-type]

    def chosen(self, architecture: Architecture) -> frozenset[Share]:
        """Return the shares of a supernet that an architecture keeps."""
        found: set[Share] = set()
        for kind, cell in enumerate(cells_of(architecture.decisions)):
            for node, edges in enumerate(cell):
                for operation, source in edges:
                    found.add((kind * EDGES + INCOMING[node][source], OPERATIONS.index(operation) + 1))
                    found.add((2 * EDGES + kind * NODES + node, source))
        return frozenset(found)

    def skips(self, architecture: Architecture) -> int:
        """Return how many of the eight operations of the normal cell are skips."""
        normal, _ = cells_of(architecture.decisions)
        return sum(operation == "skip_connect" for edges in normal for operation, _ in edges)

    def blocks(self) -> tuple[Block, ...]:
        """Return every block once: of each kind of cell its operations and what stands around them, stems, head."""
        return blocks_of(self._skeleton)
