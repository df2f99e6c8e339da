"""MobileNet-like networks (RADARS, Table III): 21 searched inverted residuals of six candidates each, 6^21 networks.

The skeleton is that of ProxylessNAS (Cai et al., ICLR 2019): a stem, an inverted residual that does not widen, six
stages, a pointwise convolution and a classifier. Searched are the kernel and the expansion of each inverted residual
(`k5e6` has kernel 5 and widens 6 times). Other than there no layer can be left out, as in RADARS, and activations are
ReLU, which has no bound of 6.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._chain import ChainSpace
from search_spaces._chain_cost import NamedBlock
from search_spaces._graph import Block, TensorSpec
from search_spaces._mbconv import head, inverted_residual, separable, stem
from search_spaces._sub_space import Candidate

KERNELS = (3, 5, 7)
EXPANSIONS = (3, 6)
#: Kernel and expansion of each candidate.
CANDIDATES = tuple(itertools.product(KERNELS, EXPANSIONS))
#: Channels of stem, first inverted residual and last convolution.
_STEM, _FIRST, _LAST = 32, 16, 1280
#: Channels, layers and stride of the six stages.
_STAGES = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
_LAYERS = sum(layers for _, layers, _ in _STAGES)
#: The stem and four stages halve the resolution.
_HALVINGS = 5
#: Unless they are asked for, halvings leave at least so many pixels a side.
_LEAST_SIDE = 4
_LAYER = re.compile(r"k([357])e([36])")
_FORM = "Write for instance " + "+".join(["k3e6", "k5e3", "k7e6"] * 7)


class Mobilenet(ChainSpace):
    """The space of MobileNet-like networks."""

    name = "mobilenet"
    small: ClassVar[Mapping[str, Any]] = {"width": 25, "resolution": 32}

    def __init__(
        self,
        *,
        width: int = 100,
        resolution: int = 224,
        halvings: int | None = None,
        classes: int = 1000,
        batch: int = 1,
    ) -> None:
        """Set the skeleton: channels in percent of the published ones, side of the picture, number of classes.

        Channels are rounded to a multiple of 8, at least 8 and not more than a tenth too few; the last convolution
        keeps its 1280 in narrower networks. `halvings` of the resolution are 5 as published, at the stem and four
        stages; of fewer the first are left out: 3 suit 32x32, with the stem and the first stage at full resolution.
        Usual are as many as leave 4x4 pixels. The resolution is a multiple of 2 ^ halvings.
        """
        if halvings is None:
            halvings = max(0, min(_HALVINGS, (resolution // _LEAST_SIDE).bit_length() - 1))
        if min(width, resolution, classes, batch) < 1 or halvings not in range(_HALVINGS + 1):
            raise UsageError(f"mobilenet needs positive options and 0 to {_HALVINGS} halvings")
        if resolution % 2**halvings:
            raise UsageError(f"mobilenet: a resolution of {resolution} cannot be halved {halvings} times")
        self._skeleton = _Skeleton(width, resolution, halvings, classes, batch)

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the constructor's keywords."""
        return dict(vars(self._skeleton))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Return six choices for each of 21 layers."""
        return (len(CANDIDATES),) * _LAYERS

    @property
    def layer_decisions(self) -> tuple[int, ...]:
        """Return one decision for each of 21 layers."""
        return (1,) * _LAYERS

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return (batch, 3, resolution, resolution)."""
        return self._skeleton.input.shape

    def parse(self, text: str) -> Architecture:
        """Return the network of a text: 21 layers joined by `+`, each kernel and expansion: `k5e6`."""
        layers = text.strip().removeprefix("mobilenet:").split("+")
        if len(layers) != _LAYERS:
            raise UsageError(f"{text!r} is no network of mobilenet", f"It has {len(layers)} layers, not 21.", _FORM)
        decisions = []
        for layer in layers:
            match = _LAYER.fullmatch(layer)
            if match is None:
                known = "Kernels are 3, 5 or 7, expansions 3 or 6."
                raise UsageError(f"{text!r}: {layer!r} is no layer of mobilenet", known, _FORM)
            decisions.append(CANDIDATES.index((int(match[1]), int(match[2]))))
        return _architecture(tuple(decisions))

    def _named(self, decisions: tuple[int, ...]) -> Architecture:
        return _architecture(decisions)

    def factors(self, candidate: Candidate) -> tuple[Candidate, ...]:
        """Return kernel and expansion, as indices."""
        kernel, expansion = divmod(candidate[0], len(EXPANSIONS))
        return (kernel,), (expansion,)

    def of_factors(self, factors: Sequence[Candidate]) -> Candidate:
        """Return the candidate of a kernel and an expansion."""
        (kernel,), (expansion,) = factors
        return (kernel * len(EXPANSIONS) + expansion,)

    def stem_blocks(self) -> tuple[NamedBlock, ...]:
        """Return the stem and the inverted residual that does not widen."""
        return _stem_blocks(self._skeleton)

    def layer_blocks(self, number: int, candidate: Candidate, before: TensorSpec) -> tuple[NamedBlock, ...]:
        """Return the inverted residual of a layer."""
        return ((f"layer{number + 1}", _choices(self._skeleton)[number][candidate[0]]),)

    def head_blocks(self, before: TensorSpec) -> tuple[NamedBlock, ...]:
        """Return the head."""
        return (("head", _head(self._skeleton)),)

    def choices(self) -> tuple[tuple[Block | None, ...], ...]:
        """Return the block of every layer by candidate: an expected cost is a sum over them."""
        return _choices(self._skeleton)

    def blocks(self) -> tuple[Block, ...]:
        """Return 69 blocks, or fewer of narrow networks: stem, first, head, six of each of eleven pairs of shapes."""
        return _blocks(self._skeleton)


@dataclass(frozen=True)
class _Skeleton:
    """What all networks of the space with the same options share."""

    width: int
    resolution: int
    halvings: int
    classes: int
    batch: int

    @property
    def input(self) -> TensorSpec:
        """Return the type of the picture."""
        return TensorSpec((self.batch, 3, self.resolution, self.resolution))

    @property
    def strides(self) -> tuple[int, ...]:
        """Return the strides of the stem and of the first layers of the six stages."""
        published = (2, *(stride for _, _, stride in _STAGES))
        kept = [place for place, stride in enumerate(published) if stride == 2][_HALVINGS - self.halvings :]
        return tuple(2 if place in kept else 1 for place in range(len(published)))

    def channels(self, published: int) -> int:
        """Return the channels that the published ones become, as in the code of MobileNetV2 and ProxylessNAS."""
        wanted = published * self.width  # in hundredths
        found = max(8, (wanted + 400) // 800 * 8)
        return found if 10 * 100 * found >= 9 * wanted else found + 8


@lru_cache(maxsize=1 << 15)
def _architecture(decisions: tuple[int, ...]) -> Architecture:
    layers = ("k{}e{}".format(*CANDIDATES[item]) for item in decisions)
    return Architecture("mobilenet", decisions, "mobilenet:" + "+".join(layers))


@lru_cache(maxsize=64)
def _specs(skeleton: _Skeleton) -> tuple[TensorSpec, ...]:
    """Return the types of the results of the stem, of the first inverted residual, and of the 21 layers."""
    of_stem, *strides = skeleton.strides
    side = skeleton.resolution // of_stem
    found = [TensorSpec((skeleton.batch, skeleton.channels(n), side, side)) for n in (_STEM, _FIRST)]
    for (channels, layers, _), stride in zip(_STAGES, strides, strict=True):
        side //= stride
        found += [TensorSpec((skeleton.batch, skeleton.channels(channels), side, side))] * layers
    return tuple(found)


@lru_cache(maxsize=64)
def _stem_blocks(skeleton: _Skeleton) -> tuple[NamedBlock, ...]:
    before, after = _specs(skeleton)[:2]
    return ("stem", stem(skeleton.input, before)), ("first", separable("k3e1", before, after, 3))


@lru_cache(maxsize=64)
def _choices(skeleton: _Skeleton) -> tuple[tuple[Block, ...], ...]:
    """Return the blocks of each layer by candidate; layers of equal shapes share theirs."""
    return tuple(itertools.starmap(_layer, itertools.pairwise(_specs(skeleton)[1:])))


@lru_cache(maxsize=1024)
def _layer(before: TensorSpec, after: TensorSpec) -> tuple[Block, ...]:
    stride = before.shape[2] // after.shape[2]
    return tuple(
        inverted_residual(f"k{kernel}e{expansion}", before, after, kernel, stride, expansion)
        for kernel, expansion in CANDIDATES
    )


@lru_cache(maxsize=64)
def _head(skeleton: _Skeleton) -> Block:
    return head(_specs(skeleton)[-1], max(_LAST, skeleton.channels(_LAST)), skeleton.classes)


@lru_cache(maxsize=64)
def _blocks(skeleton: _Skeleton) -> tuple[Block, ...]:
    first = (block for _, block in _stem_blocks(skeleton))
    layers = dict.fromkeys(block for choices in _choices(skeleton) for block in choices)
    return (*first, *layers, _head(skeleton))
