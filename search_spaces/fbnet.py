"""FBNet (Wu et al., CVPR 2019): 22 searched layers of nine operations each, 9^22 networks.

A layer is an inverted residual: a pointwise convolution that widens, a depthwise one, a pointwise one that narrows;
`k5_e6` has kernel 5 and widens 6 times, `g2` has pointwise convolutions of two groups and shuffles the channels in
between. The skeleton is that of HW-NAS-Bench (Li et al., ICLR 2021), whose networks HELP measured: for CIFAR-100, or
for ImageNet. As there, widening is a convolution also where it widens once, and `skip` is the identity where it can
be one: elsewhere (the first layer of each stage but the first) it is a pointwise convolution, normalisation and ReLU.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from search_spaces._graph import Block, Call, Graph, TensorSpec
from search_spaces._mbconv import conv_bn, head, inverted_residual, stem

OPERATIONS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
#: Kernel, expansion and groups of the operations that are no skip.
_BLOCKS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1))
_SKIP = len(OPERATIONS) - 1
_STEM = 16
#: Channels and layers of the seven stages.
_STAGES = ((16, 1), (24, 4), (32, 4), (64, 4), (112, 4), (184, 4), (352, 1))
_LAYERS = sum(layers for _, layers in _STAGES)
_FORM = "Write 22 of them joined by '|': " + "|".join(("k3_e1", "k5_e6", "skip", "k3_e1_g2", "k5_e3", "..."))


class FBNet(SearchSpace):
    """The layer-wise space of FBNet."""

    name = "fbnet"

    def __init__(
        self, *, imagenet: int = 0, resolution: int | None = None, classes: int | None = None, batch: int = 1
    ) -> None:
        """Choose the skeleton for pictures of CIFAR's size (32, 100 classes) or, `imagenet=1`, of 224 (1000 classes).

        That of ImageNet halves the resolution twice more (it must be a multiple of 32, else of 8) and has a wider head.
        """
        if imagenet not in (0, 1):
            raise UsageError("fbnet: imagenet is 0 or 1")
        usual = (224, 1000) if imagenet else (32, 100)
        resolution = usual[0] if resolution is None else resolution
        classes = usual[1] if classes is None else classes
        factor = 32 if imagenet else 8
        if min(resolution, classes, batch) < 1 or resolution % factor:
            raise UsageError(f"fbnet needs positive options and a resolution that is a multiple of {factor}")
        self._skeleton = _Skeleton(imagenet, resolution, classes, batch)

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the constructor's keywords."""
        return dict(vars(self._skeleton))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Return nine choices for each of 22 layers."""
        return (len(OPERATIONS),) * _LAYERS

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return (batch, 3, resolution, resolution)."""
        return self._skeleton.input.shape

    def architecture(self, decisions: tuple[int, ...]) -> Architecture:
        """Return the network whose layers are these operations (indices into OPERATIONS)."""
        if len(decisions) != _LAYERS or any(item not in range(len(OPERATIONS)) for item in decisions):
            raise UsageError(f"{decisions!r} are no decisions of fbnet", "22 indices from 0 to 8 are expected.")
        return _architecture(tuple(map(int, decisions)))

    def parse(self, text: str) -> Architecture:
        """Return the network of a text: 22 operations joined by `|`, as tables with columns op_01 ... op_22 name it."""
        names = text.strip().removeprefix("fbnet:").split("|")
        if len(names) != _LAYERS:
            raise UsageError(f"{text!r} is no network of fbnet", f"It has {len(names)} layers, not 22.", _FORM)
        for layer, name in enumerate(names, start=1):
            if name not in OPERATIONS:
                near = difflib.get_close_matches(name, OPERATIONS, n=1)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                known = f"{hint}Known: {', '.join(OPERATIONS)}."
                raise UsageError(f"{text!r}: layer {layer} is the unknown operation {name!r}", known)
        return _architecture(tuple(map(OPERATIONS.index, names)))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return a network whose 22 operations are drawn uniformly."""
        return _architecture(tuple(rng.integers(len(OPERATIONS), size=_LAYERS).tolist()))

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a network with another operation in one layer."""
        decisions = list(architecture.decisions)
        layer = int(rng.integers(_LAYERS))
        decisions[layer] = (decisions[layer] + int(rng.integers(1, len(OPERATIONS)))) % len(OPERATIONS)
        return _architecture(tuple(decisions))

    def enumerate(self) -> Iterator[Architecture]:
        """Raise UsageError: there are 9.8e20."""
        raise UsageError(f"fbnet has {len(OPERATIONS) ** _LAYERS:.1e} networks", "", "Draw some: --samples N")

    def canonical(self, architecture: Architecture) -> str:
        """Return the text of the same network whose identities are the last layers of their stages."""
        return _canonical(architecture.decisions)

    def encode(self, architecture: Architecture) -> NDArray[np.float64]:
        """Return one-hot operations, shape (198,)."""
        return np.eye(len(OPERATIONS))[list(architecture.decisions)].ravel()

    def graph(self, architecture: Architecture) -> Graph:
        """Return the whole network; an identity is not called."""
        skeleton = self._skeleton
        calls = [Call("stem", stem(skeleton.input, _specs(skeleton)[0]), ("input",))]
        for i, (choices, item) in enumerate(zip(_choices(skeleton), architecture.decisions, strict=True), start=1):
            block = choices[item]
            if block is not None:
                calls.append(Call(f"layer{i}", block, (calls[-1].name,)))
        calls.append(Call("head", head(_specs(skeleton)[-1], skeleton.head, skeleton.classes), (calls[-1].name,)))
        return Graph(skeleton.input, tuple(calls))

    def choices(self) -> tuple[tuple[Block | None, ...], ...]:
        """Return the block of every layer by operation, None for an identity: an expected cost is a sum over them."""
        return _choices(self._skeleton)

    def blocks(self) -> tuple[Block, ...]:
        """Return 104 blocks: stem, head, and of each of twelve pairs of shapes eight operations, or nine."""
        return _blocks(self._skeleton)


@dataclass(frozen=True)
class _Skeleton:
    """What all networks of the space with the same options share."""

    imagenet: int
    resolution: int
    classes: int
    batch: int

    @property
    def input(self) -> TensorSpec:
        """Return the type of the picture."""
        return TensorSpec((self.batch, 3, self.resolution, self.resolution))

    @property
    def strides(self) -> tuple[int, ...]:
        """Return the strides of the stem and of the first layers of the seven stages."""
        return (2, 1, 2, 2, 2, 1, 2, 1) if self.imagenet else (1, 1, 1, 2, 2, 1, 2, 1)

    @property
    def head(self) -> int:
        """Return the channels of the last convolution."""
        return 1984 if self.imagenet else 1504


@lru_cache(maxsize=1 << 15)
def _architecture(decisions: tuple[int, ...]) -> Architecture:
    return Architecture("fbnet", decisions, "fbnet:" + "|".join(OPERATIONS[item] for item in decisions))


@lru_cache(maxsize=1 << 15)
def _canonical(decisions: tuple[int, ...]) -> str:
    """Return the text with the identities of each stage at its end: all its layers but the first have equal shapes."""
    found: list[int] = []
    for _, layers in _STAGES:
        first, *others = decisions[len(found) : len(found) + layers]
        found += (first, *sorted(others, key=lambda item: item == _SKIP))
    return _architecture(tuple(found)).text


@lru_cache(maxsize=64)
def _specs(skeleton: _Skeleton) -> tuple[TensorSpec, ...]:
    """Return the types of the results of the stem and of the 22 layers."""
    stem, *strides = skeleton.strides
    side = skeleton.resolution // stem
    found = [TensorSpec((skeleton.batch, _STEM, side, side))]
    for (channels, layers), stride in zip(_STAGES, strides, strict=True):
        side //= stride
        found += [TensorSpec((skeleton.batch, channels, side, side))] * layers
    return tuple(found)


@lru_cache(maxsize=64)
def _choices(skeleton: _Skeleton) -> tuple[tuple[Block | None, ...], ...]:
    """Return the blocks of each layer by operation, None for an identity; layers of equal shapes share theirs."""
    specs = _specs(skeleton)
    return tuple(itertools.starmap(_layer, itertools.pairwise(specs)))


@lru_cache(maxsize=64)
def _blocks(skeleton: _Skeleton) -> tuple[Block, ...]:
    specs = _specs(skeleton)
    layers = dict.fromkeys(block for choices in _choices(skeleton) for block in choices if block is not None)
    return (stem(skeleton.input, specs[0]), *layers, head(specs[-1], skeleton.head, skeleton.classes))


@lru_cache(maxsize=1024)
def _layer(before: TensorSpec, after: TensorSpec) -> tuple[Block | None, ...]:
    stride = before.shape[2] // after.shape[2]
    found: list[Block | None] = []
    for name, (kernel, expansion, groups) in zip(OPERATIONS, _BLOCKS, strict=False):
        found.append(inverted_residual(name, before, after, kernel, stride, expansion, groups))
    if before == after:
        return (*found, None)
    projection = conv_bn("", "in0", before, after, stride=stride, relu=True)
    return (*found, Block("skip", (before,), projection))
