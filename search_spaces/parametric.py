"""A family of the user's own networks: a function that builds them, and the axes it is called with.

`--space family.toml` describes one (see `_family`); without a file it is the example in `_example_family`. A graph
comes from a trace of the module; module and ONNX come from the module itself, and so there is no table of blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import Infeasible, UnknownName, UsageError
from hilnas.records import Architecture, canonical_json
from search_spaces._base import SearchSpace
from search_spaces._errors import CannotBuild, NoBlocks
from search_spaces._family import parse_options, read_family
from search_spaces._family_networks import Network, allows, build_module, check_functions, failures, network_of
from search_spaces._graph import Block, Graph

if TYPE_CHECKING:
    from torch import nn

_EXAMPLE = "search_spaces._example_family:build"
_EXAMPLE_AXES = (
    ("width", (8, 12, 16)),
    ("depth", (1, 2, 3)),
    ("kernel", (3, 5)),
    ("gate", (False, True)),
    ("resolution", (16, 24, 32)),
)
_MOST = 50_000
#: Draws before a family is taken to exclude everything.
_DRAWS = 10_000


class Parametric(SearchSpace):
    """The space of a family; every combination of values is an architecture, also one that cannot be built."""

    name = "parametric"
    traced: ClassVar[bool] = True

    def __init__(
        self,
        *,
        build: str = _EXAMPLE,
        axes: Sequence[Sequence[Any]] = _EXAMPLE_AXES,
        input_shape: Sequence[int | str] = (),
        invalid: Sequence[Mapping[str, Any]] = (),
        valid: str = "",
        folder: str = "",
    ) -> None:
        """Set the family as `Family.options` has it; raise UsageError for one that makes no sense."""
        given = {"build": build, "axes": axes, "input_shape": input_shape, "invalid": invalid, "valid": valid}
        self._family = parse_options({**given, "folder": folder})
        self._key = canonical_json(self._family.options)
        self._path: Path | None = None

    @classmethod
    def from_file(cls, path: Path) -> Parametric:
        """Return the space of a TOML file; raise UsageError where the file or the functions it names are no good."""
        family = read_family(path)
        check_functions(family)
        space = cls(**family.options)
        space._path = path
        return space

    @property
    def reference(self) -> str:
        """Return what `--space` takes: the file, where the space was read from one."""
        return self.name if self._path is None else str(self._path)

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the family."""
        return self._family.options

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Return the number of values of every axis."""
        return tuple(map(len, self._family.axes.values()))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the input shape of the first architecture that has one; that of others may differ."""
        return next((shape for item in self._inside() if (shape := self.shape_of(item))), ())

    def shape_of(self, architecture: Architecture) -> tuple[int, ...]:
        """Return the input shape of an architecture, () where only `build` knows it and fails."""
        shape = self._family.shape(self._family.values(architecture.decisions))
        graph = None if shape else self._network(architecture).graph
        return shape if graph is None else graph.input.shape

    def architecture(self, decisions: tuple[int, ...]) -> Architecture:
        """Return the architecture of indices into the axes' values."""
        sizes = self.cardinalities
        if len(decisions) != len(sizes) or any(item not in range(n) for item, n in zip(decisions, sizes, strict=True)):
            raise UsageError(f"{decisions!r} are no decisions of the family", f"Expected are indices below {sizes}.")
        words = zip(self._family.texts.items(), decisions, strict=True)
        text = ",".join(f"{name}={texts[item]}" for (name, texts), item in words)
        return Architecture(self.name, tuple(map(int, decisions)), f"{self.name}:{text}")

    def parse(self, text: str) -> Architecture:
        """Return the architecture of a text such as `width=16,depth=2,resolution=96`, in any order."""
        found: dict[str, int] = {}
        for pair in text.strip().removeprefix(f"{self.name}:").split(","):
            axis, equals, word = (part.strip() for part in pair.partition("="))
            if not equals:
                raise UsageError(f"{text!r} is no architecture of the family", "", self._form)
            if axis not in self._family.axes:
                raise UnknownName("axis", axis, self._family.axes, self._form)
            if word not in self._family.texts[axis]:
                raise UnknownName(f"value of {axis}", word, self._family.texts[axis], self._form)
            if axis in found:
                raise UsageError(f"{text!r} names {axis} twice", "", self._form)
            found[axis] = self._family.texts[axis].index(word)
        missing = [axis for axis in self._family.axes if axis not in found]
        if missing:
            raise UsageError(f"{text!r} names no {', '.join(missing)}", "", self._form)
        return self.architecture(tuple(found[axis] for axis in self._family.axes))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return a uniformly drawn architecture inside the family; whether it can be built is not looked at."""
        for _ in range(_DRAWS):
            candidate = self.architecture(tuple(rng.integers(self.cardinalities).tolist()))
            if self._allows(candidate):
                return candidate
        raise Infeasible(f"none of {_DRAWS} combinations of the axes lies inside the family", "", _LOOSEN)

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Return an architecture inside the family with another value on one axis."""
        decisions = architecture.decisions
        neighbours = [
            (*decisions[:i], value, *decisions[i + 1 :])
            for i, n in enumerate(self.cardinalities)
            for value in range(n)
            if value != decisions[i]
        ]
        for place in rng.permutation(len(neighbours)):
            candidate = self.architecture(neighbours[place])
            if self._allows(candidate):
                return candidate
        raise Infeasible(f"{architecture.text} has no neighbour inside the family", "", _LOOSEN)

    def enumerate(self) -> Iterator[Architecture]:
        """Yield every architecture inside the family, whether it can be built or not."""
        n = prod(self.cardinalities)
        if n > _MOST:
            raise UsageError(f"the family has {n} combinations, too many to list", "", "Draw some: --samples N")
        return self._inside()

    def canonical(self, architecture: Architecture) -> str:
        """Return the fingerprint of the network; of one that cannot be built, the text."""
        return self.fingerprint(architecture) or architecture.text

    def obstacle(self, architecture: Architecture) -> str:
        """Return why it cannot be built, nothing where it can."""
        return self._network(architecture).what

    def fingerprint(self, architecture: Architecture) -> str:
        """Return the hash of the traced graph, nothing where there is none."""
        return self._network(architecture).fingerprint

    def encode(self, architecture: Architecture) -> NDArray[np.float64]:
        """Return one-hot values, shape (sum of cardinalities,)."""
        pairs = zip(architecture.decisions, self.cardinalities, strict=True)
        return np.concatenate([np.eye(n)[item] for item, n in pairs])

    def graph(self, architecture: Architecture) -> Graph:
        """Return the traced network; raise CannotBuild where there is none."""
        network = self._network(architecture)
        if network.graph is None:
            raise CannotBuild(f"{architecture.text}: {network.what}", network.cause)
        return network.graph

    def module(self, architecture: Architecture, seed: int = 0) -> nn.Module:
        """Return what `build` makes under a seed, in training mode; raise CannotBuild where there is no network.

        Normalisations that have seen nothing get the statistics of a seeded batch.
        """
        from search_spaces._user_modules import seeded, settle

        shape = self.graph(architecture).input.shape
        values = self._family.values(architecture.decisions)
        with failures(architecture.text):
            module = seeded(lambda: build_module(self._family, values)[0], seed)
            settle(module, shape, seed)
        return module.train()

    def onnx(self, architecture: Architecture, seed: int = 0) -> tuple[bytes, bytes | None]:
        """Return the network as ONNX, exported from the module; no device can write it itself."""
        from search_spaces._layer_costs import Input
        from search_spaces._onnx_export import export_onnx

        module = self.module(architecture, seed)
        try:
            return export_onnx(module, [Input(self.graph(architecture).input.shape)]), None
        except CannotBuild as error:
            raise CannotBuild(f"{architecture.text}: {error.what}", error.cause, error.remedy) from error

    def blocks(self) -> tuple[Block, ...]:
        """Raise NoBlocks."""
        raise NoBlocks(
            f"{self.reference} has no table of blocks",
            "Its networks are traced: their operators are known, but cannot be built one by one.",
            "Measure whole networks (--samples N), and fit another predictor: gradient_boosting",
        )

    def _network(self, architecture: Architecture) -> Network:
        return network_of(self._key, architecture.decisions)

    def _allows(self, architecture: Architecture) -> bool:
        return allows(self._key, architecture.decisions)

    def _inside(self) -> Iterator[Architecture]:
        everything = map(self.architecture, itertools.product(*map(range, self.cardinalities)))
        return filter(self._allows, everything)

    @property
    def _form(self) -> str:
        first = ",".join(f"{name}={texts[0]}" for name, texts in self._family.texts.items())
        return f"Write for instance {first}"


_LOOSEN = "Loosen [[invalid]] or `valid`."
