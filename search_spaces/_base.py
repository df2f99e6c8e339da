"""The contract of a search space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import Infeasible
from hilnas.records import Architecture
from search_spaces._graph import Block, Graph

if TYPE_CHECKING:
    from torch import nn


class SearchSpace(ABC):
    """A set of architectures that one graph function expands.

    A space holds only its options (width, classes ...), given to the constructor by keyword; everything else is a
    pure function. Architectures are values: they may be shared, hashed and stored. Randomness comes from the
    generator that is handed in, nothing else.
    """

    name: ClassVar[str]
    #: What whoever reads a latency of this space has to know; `hilnas profile` says it.
    latency_note: ClassVar[str] = ""
    #: Options of small networks of the space: what is trained where searching must not take long.
    small: ClassVar[Mapping[str, Any]] = {}
    #: Whether graphs come from traces of modules: they can be counted, not run, and there are no blocks to measure.
    traced: ClassVar[bool] = False

    @property
    def reference(self) -> str:
        """Return what a user types to name the space: `--space REFERENCE`."""
        return self.name

    @property
    @abstractmethod
    def options(self) -> Mapping[str, Any]:
        """Return the constructor's keywords as a JSON value; `type(self)(**options)` is the same space."""

    @property
    @abstractmethod
    def cardinalities(self) -> tuple[int, ...]:
        """Return how many choices each decision has, in the order a controller takes them."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Return the input shape (batch, channels, height, width)."""

    @abstractmethod
    def architecture(self, decisions: tuple[int, ...]) -> Architecture:
        """Return the architecture of the decisions; raise UsageError for decisions outside the space."""

    @abstractmethod
    def parse(self, text: str) -> Architecture:
        """Return the architecture of a text, with or without the space's prefix; raise UsageError if it is none."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return a random architecture whose output depends on its input."""

    @abstractmethod
    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a connected architecture that differs in exactly one decision."""

    @abstractmethod
    def enumerate(self) -> Iterator[Architecture]:
        """Yield every architecture once, the disconnected ones included; raise UsageError where there are too many."""

    @abstractmethod
    def graph(self, architecture: Architecture) -> Graph:
        """Return the network as it is trained: nothing pruned, nothing folded."""

    def shape_of(self, architecture: Architecture) -> tuple[int, ...]:
        """Return the input shape of one architecture, where that is a decision as well."""
        return self.input_shape

    def obstacle(self, architecture: Architecture) -> str:
        """Return why there is no network of an architecture, nothing where there is one."""
        return ""

    def connected(self, architecture: Architecture) -> bool:
        """Return whether the output of an architecture's network depends on its input."""
        return self.graph(architecture).connected

    def fingerprint(self, architecture: Architecture) -> str:
        """Return what changes when the same text becomes another network; nothing where options and text say it all."""
        return ""

    def onnx(self, architecture: Architecture, seed: int = 0) -> tuple[bytes, bytes | None]:
        """Return the network as ONNX with seeded weights, and its recipe (None: no device can write it itself)."""
        from search_spaces._recipe import to_onnx_and_recipe

        return to_onnx_and_recipe(self.graph(architecture), seed)

    def module(self, architecture: Architecture, seed: int = 0) -> nn.Module:
        """Return the network as a PyTorch module in training mode with seeded weights."""
        from search_spaces._torch import to_module

        return to_module(self.graph(architecture), seed=seed)

    @abstractmethod
    def canonical(self, architecture: Architecture) -> str:
        """Return a text that two architectures share only when they compute the same function of input and weights.

        It is a key for what training makes of an architecture, not for its cost: one of two equal branches may be
        computed once and used twice.
        """

    @abstractmethod
    def encode(self, architecture: Architecture) -> NDArray[np.float64]:
        """Return a one-hot encoding of the decisions, shape (sum of cardinalities,)."""

    @abstractmethod
    def blocks(self) -> tuple[Block, ...]:
        """Return every distinct block with operators that graphs of this space are made of; NoBlocks if `traced`."""

    def choices(self) -> tuple[tuple[Block | None, ...], ...]:
        """Return the block of every decision by choice, None for none, where networks are a chain of them; else ()."""
        return ()

    def sample_distinct(self, n: int, seed: int, exclude: frozenset[str] = frozenset()) -> list[Architecture]:
        """Return n random architectures of different canonical form, none of them in `exclude` (canonical forms).

        The first m of n + m are the n: a longer sample of the same seed begins with the shorter one.
        Raises Infeasible when the space is exhausted.
        """
        rng = np.random.default_rng(seed)
        seen = set(exclude)
        found: list[Architecture] = []
        misses = 0
        while len(found) < n:
            candidate = self.sample(rng)
            form = self.canonical(candidate)
            if form not in seen:
                seen.add(form)
                found.append(candidate)
                misses = 0
                continue
            misses += 1
            if misses > 100_000:
                raise Infeasible(
                    f"{self.name} has no {n} distinct architectures left", f"{len(found)} were found.", "Ask for fewer."
                )
        return found
