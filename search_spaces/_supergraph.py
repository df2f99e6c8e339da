"""Supernets: graphs in which the choices of an architecture stand side by side and are mixed.

A space builds one from the same blocks as its networks. `rows` says how many choices each distribution has; a `Mixture`
sums tensors, each with a product of shares. What differentiable searches change about a supernet is in `Supernet`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from search_spaces._graph import Block, Call, Operator, TensorSpec

#: (row, choice): a share of a distribution.
Share = tuple[int, int]


class Term(NamedTuple):
    """A tensor, and the shares its weight is the product of (none: it counts once)."""

    source: str
    shares: tuple[Share, ...]


class Mixture(NamedTuple):
    """The weighted sum of tensors, in a cell; what has no term is zero, and so is a channel that a tensor lacks."""

    name: str
    cell: int
    spec: TensorSpec
    terms: tuple[Term, ...]


class Part(NamedTuple):
    """Channels `start` to `stop` of a tensor."""

    name: str
    source: str
    start: int
    stop: int


class Joint(NamedTuple):
    """The channels of tensors one behind the other, then shuffled in groups."""

    name: str
    sources: tuple[str, ...]
    groups: int


Step = Call | Mixture | Part | Joint


@dataclass(frozen=True)
class Supernet:
    """What a supernet is like.

    shared: an operation runs once for each tensor it reads, not once for each edge (DCA-NAS, Eq. 5). bottleneck: cells
    work on one channel of so many, between pointwise convolutions. partial: operations see one channel of so many, the
    others go past them, and edges have shares of their own (PC-DARTS, Xu et al., ICLR 2020).
    """

    shared: bool = False
    bottleneck: int = 1
    partial: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError for fractions that make no sense."""
        if min(self.bottleneck, self.partial) < 1 or min(self.bottleneck, self.partial) > 1:
            raise UsageError("a supernet has a bottleneck or partial channels of 1 / n, not both")


@dataclass(frozen=True)
class Supergraph:
    """A supernet: steps in topological order, one input named `input`, one output.

    `kinds` names the kind of each cell: cells of one kind share their distributions. `twins` names calls that stand for
    one another: their convolutions have weights in common.
    """

    input: TensorSpec
    steps: tuple[Step, ...]
    rows: tuple[int, ...]
    kinds: tuple[str, ...]
    output: str = field(default="")
    twins: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.output:
            object.__setattr__(self, "output", self.steps[-1].name)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Return the calls of blocks."""
        return tuple(step for step in self.steps if isinstance(step, Call))

    def needed(self, chosen: Mapping[int, frozenset[Share]]) -> tuple[Step, ...]:
        """Return the steps that the output depends on where cells keep only some shares.

        `chosen` maps a cell to the shares that are left in it, each with weight 1; other cells are mixed. A mixture
        keeps the terms whose shares are all chosen.
        """
        wanted = {self.output}
        kept: list[Step] = []
        for step in reversed(self.steps):
            if step.name not in wanted:
                continue
            if isinstance(step, Mixture) and step.cell in chosen:
                left = tuple(term for term in step.terms if chosen[step.cell].issuperset(term.shares))
                step = step._replace(terms=left)
            kept.append(step)
            wanted.update(sources_of(step))
        return tuple(reversed(kept))


def sources_of(step: Step) -> tuple[str, ...]:
    """Return the names of the tensors that a step reads."""
    if isinstance(step, Call):
        return step.inputs
    if isinstance(step, Mixture):
        return tuple(term.source for term in step.terms)
    return (step.source,) if isinstance(step, Part) else step.sources


class Cells:
    """Collects the steps of a supernet cell by cell."""

    def __init__(self, style: Supernet) -> None:
        self.style = style
        self.steps: list[Step] = []
        self._known: set[str] = set()

    def call(self, name: str, block: Block, *inputs: str) -> str:
        """Append a call unless it is there already, and return its name."""
        if name not in self._known:
            self._known.add(name)
            self.steps.append(Call(name, block, inputs))
        return name

    def node(self, name: str, cell: int, spec: TensorSpec, edges: Sequence[Edge], beta: int) -> str:
        """Append the mixture of a node's edges, and return its name.

        `spec` is the type of the node. With partial channels `beta` is the row of the shares of edges.
        """
        partial = self.style.partial
        weights = [((beta, i),) if partial > 1 else () for i in range(len(edges))]
        terms = tuple(
            Term(self._candidate(name, edge, choice, block), ((edge.row, choice), *weight))
            for edge, weight in zip(edges, weights, strict=True)
            for choice, block in edge.candidates
        )
        if partial == 1:
            self.steps.append(Mixture(name, cell, spec, terms))
            return name
        front = channels(spec, spec.shape[1] // partial)
        rest = channels(spec, spec.shape[1] - front.shape[1])
        past = tuple(Term(self._past(edge, spec), weight) for edge, weight in zip(edges, weights, strict=True))
        self.steps.append(Mixture(f"{name}front", cell, front, terms))
        self.steps.append(Mixture(f"{name}rest", cell, rest, past))
        self.steps.append(Joint(name, (f"{name}front", f"{name}rest"), partial))
        return name

    def _candidate(self, node: str, edge: Edge, choice: int, block: Block | None) -> str:
        """Return the tensor of a choice: what the block makes of what the edge reads, None: that itself."""
        source = edge.source if self.style.partial == 1 else self._part(edge.source, "front", edge.spec)
        if block is None:
            return source
        owner = edge.source if self.style.shared else f"{node}_{edge.source}"
        return self.call(f"{owner}o{choice}", block, source)

    def _past(self, edge: Edge, after: TensorSpec) -> str:
        """Return the channels that go past the operations, halved in resolution where the node is."""
        rest = self._part(edge.source, "rest", edge.spec)
        if edge.spec.shape[2:] == after.shape[2:]:
            return rest
        front = edge.spec.shape[1] // self.style.partial
        return self.call(f"{rest}half", _halving(channels(edge.spec, edge.spec.shape[1] - front)), rest)

    def _part(self, source: str, name: str, spec: TensorSpec) -> str:
        """Return the first channels of a tensor, or those behind them."""
        found = f"{source}{name}"
        if found not in self._known:
            self._known.add(found)
            front = spec.shape[1] // self.style.partial
            start, stop = (0, front) if name == "front" else (front, spec.shape[1])
            self.steps.append(Part(found, source, start, stop))
        return found


class Edge(NamedTuple):
    """What may lie between a tensor and a node: the tensor, its type, a row of shares, blocks by choice.

    A block of None hands the tensor on.
    """

    source: str
    spec: TensorSpec
    row: int
    candidates: tuple[tuple[int, Block | None], ...]


@lru_cache(maxsize=256)
def _halving(before: TensorSpec) -> Block:
    batch, n, *sides = before.shape
    after = TensorSpec((batch, n, *(side // 2 for side in sides)))
    return Block("max_pool_2x2", (before,), (Operator("pool", "max_pool2d", ("in0",), before, after, 2, 2),))


def channels(spec: TensorSpec, n: int) -> TensorSpec:
    """Return the same type with n channels."""
    return TensorSpec((spec.shape[0], n, *spec.shape[2:]))


class SupernetSpace(SearchSpace):
    """A search space with supernets."""

    @abstractmethod
    def supergraph(self, style: Supernet) -> Supergraph:
        """Return the supernet of a style; raise UsageError for a width that cannot be divided by its fractions."""

    @abstractmethod
    def row_costs(self, cost: Callable[[Block], float]) -> tuple[float, list[NDArray[np.float64]]]:
        """Return what every network costs, and what a share of 1 of each choice adds, for a cost of one block."""

    @abstractmethod
    def derive(self, shares: Sequence[NDArray[np.float64]]) -> Architecture:
        """Return the architecture of distributions, one a row of `supergraph`."""

    @abstractmethod
    def chosen(self, architecture: Architecture) -> frozenset[Share]:
        """Return the shares of a supernet that an architecture keeps; rows that a style lacks may be among them."""

    @abstractmethod
    def skips(self, architecture: Architecture) -> int:
        """Return how many operations of the cells are skips: a search that collapses ends with little else."""
