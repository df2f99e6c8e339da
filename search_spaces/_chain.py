"""Spaces whose networks are layers in a row: sub-spaces of them, and the supernets of sub-spaces.

A candidate is what is decided for one layer. A sub-space leaves each layer some of its candidates; merging a few good
networks makes a small one (RADARS, Section III-C), whose supernet fits a memory that the whole space would not.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from search_spaces._chain_cost import ChainCost, NamedBlock, chain_cost_of
from search_spaces._graph import Block, Call, Graph, TensorSpec
from search_spaces._sub_space import Candidate, SubSpace, split_by
from search_spaces._supergraph import Mixture, Share, Step, Supergraph, Term

#: How networks become a sub-space: their own candidates, or all that are made of the same factors.
Merging = Literal["tuple", "factor"]


class ChainSpace(SearchSpace):
    """A search space whose networks are a stem, layers in a row, and a head.

    What a layer does with a tensor depends on its candidate and on the type of what it reads; the type of its result
    on the candidate alone.
    """

    @property
    @abstractmethod
    def layer_decisions(self) -> tuple[int, ...]:
        """Return how many decisions each layer has, in the order of `cardinalities`."""

    @abstractmethod
    def factors(self, candidate: Candidate) -> tuple[Candidate, ...]:
        """Return the parts of a candidate that merging by factors combines anew."""

    @abstractmethod
    def of_factors(self, factors: Sequence[Candidate]) -> Candidate:
        """Return the candidate of parts: the inverse of `factors`."""

    @abstractmethod
    def stem_blocks(self) -> tuple[NamedBlock, ...]:
        """Return the names and blocks before the first layer, one behind the other; the first reads the picture."""

    @abstractmethod
    def layer_blocks(self, number: int, candidate: Candidate, before: TensorSpec) -> tuple[NamedBlock, ...]:
        """Return the names and blocks of a layer (from 0) that reads a tensor of the type `before`."""

    @abstractmethod
    def head_blocks(self, before: TensorSpec) -> tuple[NamedBlock, ...]:
        """Return the names and blocks behind the last layer."""

    def architecture(self, decisions: tuple[int, ...]) -> Architecture:
        """Return the network of indices into the choices; raise UsageError for others."""
        sizes = self.cardinalities
        if len(decisions) != len(sizes) or any(item not in range(n) for item, n in zip(decisions, sizes, strict=True)):
            raise UsageError(f"{decisions!r} are no decisions of {self.name}", self._expected)
        return self._named(tuple(map(int, decisions)))

    @abstractmethod
    def _named(self, decisions: tuple[int, ...]) -> Architecture:
        """Return the architecture of decisions that are known to be in the space."""

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return a network whose decisions are drawn uniformly."""
        return self._named(tuple(rng.integers(self.cardinalities).tolist()))

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a network with another choice in one decision."""
        decisions = list(architecture.decisions)
        place = int(rng.integers(len(decisions)))
        n = self.cardinalities[place]
        decisions[place] = (decisions[place] + int(rng.integers(1, n))) % n
        return self._named(tuple(decisions))

    def enumerate(self) -> Iterator[Architecture]:
        """Raise UsageError: there are too many."""
        raise UsageError(f"{self.name} has {prod(self.cardinalities):.1e} networks", "", "Draw some: --samples N")

    def canonical(self, architecture: Architecture) -> str:
        """Return the text: no two networks compute the same for all weights."""
        return architecture.text

    def encode(self, architecture: Architecture) -> NDArray[np.float64]:
        """Return one-hot decisions, shape (sum of cardinalities,)."""
        pairs = zip(architecture.decisions, self.cardinalities, strict=True)
        return np.concatenate([np.eye(n)[item] for item, n in pairs])

    def graph(self, architecture: Architecture) -> Graph:
        """Return the whole network."""
        calls = _calls(self.stem_blocks(), "input")
        for number, candidate in enumerate(self.split(architecture)):
            last = calls[-1]
            calls += _calls(self.layer_blocks(number, candidate, last.block.output), last.name)
        calls += _calls(self.head_blocks(calls[-1].block.output), calls[-1].name)
        return Graph(calls[0].block.inputs[0], tuple(calls))

    def split(self, architecture: Architecture) -> tuple[Candidate, ...]:
        """Return the candidate of each layer: the inverse of `of_layers`."""
        return split_by(architecture.decisions, self.layer_decisions)

    def of_layers(self, candidates: Iterable[Candidate]) -> Architecture:
        """Return the network of one candidate a layer; raise UsageError for what is none of this space."""
        return self.architecture(tuple(itertools.chain.from_iterable(candidates)))

    def whole(self) -> SubSpace:
        """Return the sub-space that leaves nothing out."""
        sizes = split_by(self.cardinalities, self.layer_decisions)
        return SubSpace(tuple(tuple(itertools.product(*map(range, layer))) for layer in sizes))

    def require(self, sub: SubSpace) -> None:
        """Raise UsageError for a sub-space of another space."""
        sizes = split_by(self.cardinalities, self.layer_decisions)
        known = len(sub.layers) == len(sizes) and all(
            len(candidate) == len(n) and all(map(int.__lt__, candidate, n))
            for candidates, n in zip(sub.layers, sizes, strict=True)
            for candidate in candidates
        )
        if not known:
            raise UsageError(f"this is no sub-space of {self.name}", self._expected)

    def chain_supergraph(self, sub: SubSpace, common: bool = False) -> Supergraph:
        """Return the supernet of a sub-space: row l holds the shares of layer l's candidates, in their order.

        Each candidate has blocks of its own, those of a network whose layers read 32 bits: mixtures are no fixed-point
        numbers. Each layer is a cell of a kind of its own, its result as wide as its widest candidate's. `common`: the
        candidates of a layer have weights in common. Raises UsageError for a sub-space of another space.
        """
        self.require(sub)
        calls = _calls(self.stem_blocks(), "input")
        steps: list[Step] = [*calls]
        source, before = calls[-1].name, calls[-1].block.output
        twins: dict[str, list[str]] = {}
        for number, candidates in enumerate(sub.layers):
            terms, results = [], []
            for choice, candidate in enumerate(candidates):
                blocks = self.layer_blocks(number, candidate, before)
                calls = _calls(blocks, source, f"o{choice}")
                steps += calls
                for (place, _), call in zip(blocks, calls, strict=True):
                    twins.setdefault(place, []).append(call.name)
                terms.append(Term(calls[-1].name, ((number, choice),)))
                results.append(calls[-1].block.output.shape)
            source, before = f"mixture{number + 1}", TensorSpec(max(results))  # they differ in channels alone
            steps.append(Mixture(source, number, before, tuple(terms)))
        steps += _calls(self.head_blocks(before), source)
        kinds = tuple(f"layer{number + 1}" for number in range(len(sub.layers)))
        return Supergraph(
            self.stem_blocks()[0][1].inputs[0],
            tuple(steps),
            tuple(map(len, sub.layers)),
            kinds,
            twins=tuple(map(tuple, twins.values())) if common else (),
        )

    def chosen(self, sub: SubSpace, architecture: Architecture) -> Mapping[int, frozenset[Share]]:
        """Return, for each cell of the supernet, the share that is left where it runs as one network.

        Raises UsageError for a network outside the sub-space.
        """
        if not sub.contains(architecture):
            raise UsageError(f"{architecture} is not in the sub-space")
        places = zip(sub.layers, self.split(architecture), strict=True)
        return {number: frozenset({(number, candidates.index(own))}) for number, (candidates, own) in enumerate(places)}

    def derive(self, sub: SubSpace, shares: Sequence[NDArray[np.float64]]) -> Architecture:
        """Return the network of the largest share of each row (the first of equal ones)."""
        rows = zip(sub.layers, shares, strict=True)
        return self.of_layers(candidates[int(np.argmax(row))] for candidates, row in rows)

    def chain_cost(self, sub: SubSpace, cost: Callable[[Block], float]) -> ChainCost:
        """Return the expected cost of a sub-space, where a network's is the sum of its blocks'.

        `cost` is that of one block, a finite number in any unit; it is asked once for each. Raises UsageError for a
        sub-space of another space.
        """
        self.require(sub)
        layers = (
            [partial(self.layer_blocks, number, candidate) for candidate in candidates]
            for number, candidates in enumerate(sub.layers)
        )
        return chain_cost_of(self.stem_blocks(), layers, self.head_blocks, cost)

    @property
    def _expected(self) -> str:
        sizes = split_by(self.cardinalities, self.layer_decisions)
        kinds = " or ".join(map(str, dict.fromkeys(sizes)))
        return f"Expected are {len(sizes)} layers of indices below {kinds}."


def _calls(named: Iterable[NamedBlock], source: str, suffix: str = "") -> list[Call]:
    """Return calls of blocks one behind the other, the first of which reads `source`."""
    found: list[Call] = []
    for name, block in named:
        found.append(Call(name + suffix, block, (source,)))
        source = found[-1].name
    return found


def merge(space: ChainSpace, architectures: Sequence[Architecture], how: Merging) -> SubSpace:
    """Return the smallest sub-space of a kind that holds all these networks; candidates in order of appearance.

    `tuple`: each layer has the networks' own candidates there, no one twice (RADARS, Fig. 2). `factor`: each layer
    has all candidates whose factors are among theirs there, as in the code of the paper's authors. Raises UsageError
    where there are no networks, or some of another space.
    """
    if not architectures:
        raise UsageError("no networks to merge")
    if how not in ("tuple", "factor"):
        raise UsageError(f"networks are not merged by {how!r}", "Known: tuple, factor.")
    for architecture in architectures:
        if space.architecture(architecture.decisions) != architecture:
            raise UsageError(f"{architecture} is no network of {space.name}")
    columns = zip(*map(space.split, architectures), strict=True)
    distinct = [tuple(dict.fromkeys(column)) for column in columns]
    return SubSpace(tuple(distinct if how == "tuple" else (_combined(space, column) for column in distinct)))


def _combined(space: ChainSpace, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates of all combinations of factors."""
    values = [dict.fromkeys(column) for column in zip(*map(space.factors, candidates), strict=True)]
    return tuple(map(space.of_factors, itertools.product(*values)))
