"""Quantised CNNs for 32x32 pictures (RADARS, Table I): six fixed-point convolutions, 144 candidates each, 144^6 nets.

A layer is a convolution with fixed-point weights, batch normalisation, ReLU and a quantiser. Searched are its kernel
and two formats: integer and fraction bits of its result (the activations) and of its weights; the sign is one of the
integer bits. With `filters=1` the channels of its result are searched as well, as in QuantNAS. The picture is quantised
to 8 integer and 8 fraction bits; the head stays in floating point.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._chain import ChainSpace
from search_spaces._chain_cost import NamedBlock
from search_spaces._graph import Block, Operator, TensorSpec
from search_spaces._quantiser import FixedPoint
from search_spaces._sub_space import Candidate, split_by

if TYPE_CHECKING:
    from search_spaces._quantiser_torch import Ste
    from search_spaces._torch import GraphModule

KERNELS = (1, 3, 5, 7)
INTEGER_BITS = (1, 3)
FRACTION_BITS = (1, 3, 6)
FORMATS = tuple(itertools.starmap(FixedPoint, itertools.product(INTEGER_BITS, FRACTION_BITS)))
#: Channels of a layer's result, in 64ths of all that it may have: QuantNAS' numbers of filters.
FILTERS = (24, 36, 48, 64)
#: What is decided for a layer, in this order: kernel, format of the activations, format of the weights, filters.
_CHOICES = (KERNELS, INTEGER_BITS, FRACTION_BITS, INTEGER_BITS, FRACTION_BITS, FILTERS)
#: Channels of the layers in multiples of the first one's; every second layer halves the resolution.
_WIDTHS = (1, 1, 2, 2, 4, 4)
IMAGE = FixedPoint(8, 8)
_LAYER = re.compile(r"k([1357])a([13])\.([136])w([13])\.([136])(?:c(24|36|48|64))?")
_EXAMPLE = ("k3a1.3w1.6", "k5a3.6w1.3", "k1a1.1w3.1") * 2


class Layer(NamedTuple):
    """What is decided for one layer."""

    kernel: int
    activations: FixedPoint
    weights: FixedPoint
    filters: int | None = None

    def __str__(self) -> str:
        filters = "" if self.filters is None else f"c{self.filters}"
        return f"k{self.kernel}a{self.activations}w{self.weights}{filters}"


class QuantisedCnn(ChainSpace):
    """The space of quantised CNNs."""

    name = "quantised_cnn"
    small: ClassVar[Mapping[str, Any]] = {"width": 16, "resolution": 16}
    latency_note = (
        "no runtime here computes with 2 to 9 bits: a latency of quantised_cnn is that of its emulation in floating "
        "point or, with the backend onnxruntime_int8, that of int8"
    )

    def __init__(
        self,
        *,
        width: int = 64,
        pool: int = 0,
        normalise: int = 1,
        filters: int = 0,
        resolution: int = 32,
        classes: int = 10,
        batch: int = 1,
    ) -> None:
        """Set the skeleton: channels of the first layer, resolution (a multiple of 8), classes.

        Layers 2, 4 and 6 halve the resolution by their stride, as in the paper's table, or (`pool=1`) by a 2x2 maximum
        after a convolution of stride 1, as in the authors' code. `normalise=0` leaves batch normalisation out, as the
        authors do while they search. With `filters=1` a layer has 24, 36, 48 or 64 of 64 of its channels: a sixth
        decision; the width is a multiple of 16 then. The hidden layer of the head has 16 x width units.
        """
        if min(width, resolution, classes, batch) < 1 or resolution % 8:
            raise UsageError("quantised_cnn needs positive options and a resolution that is a multiple of 8")
        if not {pool, normalise, filters} <= {0, 1}:
            raise UsageError("quantised_cnn: pool, normalise and filters are 0 or 1")
        if filters and width % 16:
            raise UsageError("quantised_cnn: where filters are searched the width is a multiple of 16")
        self._skeleton = _Skeleton(width, pool, normalise, filters, resolution, classes, batch)

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the constructor's keywords."""
        return dict(vars(self._skeleton))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Return the choices of 30 decisions: per layer kernel, and integer and fraction bits of both formats.

        Of 36 where filters are searched.
        """
        return tuple(map(len, self._skeleton.choices)) * len(_WIDTHS)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return (batch, 3, resolution, resolution)."""
        return self._skeleton.input.shape

    @property
    def layer_decisions(self) -> tuple[int, ...]:
        """Return five decisions (six with filters) for each of six layers."""
        return (len(self._skeleton.choices),) * len(_WIDTHS)

    def layers(self, architecture: Architecture) -> tuple[Layer, ...]:
        """Return what the decisions of the six layers mean."""
        return _layers(architecture.decisions)

    def parse(self, text: str) -> Architecture:
        """Return the network of a text: six layers joined by `+`, each kernel, activations, weights: `k3a1.3w1.6`.

        Where filters are searched they stand behind: `k3a1.3w1.6c48`.
        """
        layers = text.strip().removeprefix("quantised_cnn:").split("+")
        searched = "c48" if self._skeleton.filters else ""
        form = "Write for instance " + "+".join(layer + searched for layer in _EXAMPLE)
        if len(layers) != len(_WIDTHS):
            raise UsageError(f"{text!r} is no network of quantised_cnn", "Six layers joined by '+' are expected.", form)
        decisions: list[int] = []
        for layer in layers:
            match = _LAYER.fullmatch(layer)
            values = [int(item) for item in match.groups() if item is not None] if match else []
            if len(values) != len(self._skeleton.choices):
                known = "Kernels are 1, 3, 5 or 7, integer bits 1 or 3, fraction bits 1, 3 or 6."
                behind = "Behind them stands c24, c36, c48 or c64." if searched else "Nothing stands behind them."
                raise UsageError(f"{text!r}: {layer!r} is no layer of quantised_cnn", f"{known} {behind}", form)
            decisions += [choices.index(item) for choices, item in zip(self._skeleton.choices, values, strict=True)]
        return _architecture(tuple(decisions))

    def _named(self, decisions: tuple[int, ...]) -> Architecture:
        return _architecture(decisions)

    def factors(self, candidate: Candidate) -> tuple[Candidate, ...]:
        """Return kernel, format of the activations, format of the weights, and filters where they are searched."""
        parts = candidate[:1], candidate[1:3], candidate[3:5], candidate[5:]
        return parts if self._skeleton.filters else parts[:3]

    def of_factors(self, factors: Sequence[Candidate]) -> Candidate:
        """Return the candidate of a kernel, two formats, and filters where they are searched."""
        return tuple(itertools.chain(*factors))

    def stem_blocks(self) -> tuple[NamedBlock, ...]:
        """Return the quantiser of the picture."""
        return (("image", _image(self._skeleton)),)

    def layer_blocks(self, number: int, candidate: Candidate, before: TensorSpec) -> tuple[NamedBlock, ...]:
        """Return a layer's convolution with what belongs to it, and its quantiser."""
        layer, name = _layer(candidate), number + 1
        conv = _conv(self._skeleton, number, layer.kernel, layer.weights, before, layer.filters)
        rounding = _quantiser(self._skeleton, number, layer.activations, layer.filters)
        return (f"conv{name}", conv), (f"activations{name}", rounding)

    def head_blocks(self, before: TensorSpec) -> tuple[NamedBlock, ...]:
        """Return the head."""
        return (("head", _head(self._skeleton, before)),)

    def module(self, architecture: Architecture, seed: int = 0, ste: Ste = "identity") -> GraphModule:
        """Return the network as a module in training mode with seeded weights; `ste` is the gradient of rounding."""
        from search_spaces._torch import to_module

        return to_module(self.graph(architecture), seed=seed, ste=ste)

    def blocks(self) -> tuple[Block, ...]:
        """Return 666 blocks: convolutions by layer, kernel, weights and bits they read, quantisers, heads.

        9,849 where filters are searched.
        """
        return _blocks(self._skeleton)


@dataclass(frozen=True)
class _Skeleton:
    """What all networks of the space with the same options share."""

    width: int
    pool: int
    normalise: int
    filters: int
    resolution: int
    classes: int
    batch: int

    @property
    def input(self) -> TensorSpec:
        """Return the type of the picture."""
        return TensorSpec((self.batch, 3, self.resolution, self.resolution))

    @property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """Return what the decisions of a layer choose from."""
        return _CHOICES if self.filters else _CHOICES[:-1]

    def result(self, layer: int, filters: int | None, bits: int = 32) -> TensorSpec:
        """Return the type of a layer's result (-1: the picture), every second layer halving the resolution."""
        if layer < 0:
            return TensorSpec(self.input.shape, bits)
        side = self.resolution >> (layer + 1) // 2
        channels = self.width * _WIDTHS[layer] * (filters or FILTERS[-1]) // FILTERS[-1]
        return TensorSpec((self.batch, channels, side, side), bits)

    def results(self, layer: int) -> list[TensorSpec]:
        """Return the types that a layer's result may have when it is rounded."""
        if layer < 0:
            return [self.result(layer, None, IMAGE.bits)]
        low_bits = sorted({form.bits for form in FORMATS})
        return [self.result(layer, *item) for item in itertools.product(self.parts, low_bits)]

    @property
    def parts(self) -> tuple[int | None, ...]:
        """Return the numbers of filters to choose from, or None alone."""
        return FILTERS if self.filters else (None,)


@lru_cache(maxsize=1024)
def _layer(candidate: Candidate) -> Layer:
    values = [choices[item] for choices, item in zip(_CHOICES, candidate, strict=False)]
    return Layer(values[0], FixedPoint(*values[1:3]), FixedPoint(*values[3:5]), *values[5:])


@lru_cache(maxsize=1 << 15)
def _layers(decisions: tuple[int, ...]) -> tuple[Layer, ...]:
    return tuple(map(_layer, split_by(decisions, (len(decisions) // len(_WIDTHS),) * len(_WIDTHS))))


@lru_cache(maxsize=1 << 15)
def _architecture(decisions: tuple[int, ...]) -> Architecture:
    return Architecture("quantised_cnn", decisions, "quantised_cnn:" + "+".join(map(str, _layers(decisions))))


@lru_cache(maxsize=16)
def _blocks(skeleton: _Skeleton) -> tuple[Block, ...]:
    found = [_image(skeleton)]
    for i in range(len(_WIDTHS)):
        searched = itertools.product(KERNELS, FORMATS, skeleton.results(i - 1), skeleton.parts)
        found += [_conv(skeleton, i, *item) for item in searched]
        found += [_quantiser(skeleton, i, *item) for item in itertools.product(FORMATS, skeleton.parts)]
    found += [_head(skeleton, before) for before in skeleton.results(len(_WIDTHS) - 1)]
    return tuple(dict.fromkeys(found))  # layers of equal resolution may have as many channels


def _image(skeleton: _Skeleton) -> Block:
    return _rounding(skeleton.input, skeleton.result(-1, None, IMAGE.bits), IMAGE)


def _quantiser(skeleton: _Skeleton, layer: int, form: FixedPoint, filters: int | None) -> Block:
    return _rounding(skeleton.result(layer, filters), skeleton.result(layer, filters, form.bits), form)


@lru_cache(maxsize=1024)
def _rounding(before: TensorSpec, after: TensorSpec, form: FixedPoint) -> Block:
    operator = Operator("quantise", "quantise", ("in0",), before, after, fraction_bits=form.fraction_bits)
    return Block(f"quantise{form}", (before,), (operator,))


@lru_cache(maxsize=1 << 14)
def _conv(
    skeleton: _Skeleton, layer: int, kernel: int, weights: FixedPoint, before: TensorSpec, filters: int | None
) -> Block:
    """Return convolution, normalisation, ReLU and pooling, where there are any; a maximum is rounded after all."""
    after = skeleton.result(layer, filters)
    halving = layer % 2
    pooled = halving and skeleton.pool
    full = TensorSpec((*after.shape[:2], *before.shape[2:])) if pooled else after
    stride = 1 if pooled else 1 + halving
    operators = [
        Operator(
            "conv",
            "conv2d",
            ("in0",),
            before,
            full,
            kernel=kernel,
            stride=stride,
            padding=kernel // 2,
            bias=True,
            weight_bits=weights.bits,
            fraction_bits=weights.fraction_bits,
        )
    ]
    if skeleton.normalise:
        operators.append(Operator("bn", "batch_norm", ("conv",), full, full))
    operators.append(Operator("relu", "relu", (operators[-1].name,), full, full))
    if pooled:
        operators.append(Operator("pool", "max_pool2d", ("relu",), full, after, kernel=2, stride=2))
    kind = "_".join([f"conv{kernel}x{kernel}", *(operator.name for operator in operators[1:])])
    return Block(kind, (before,), tuple(operators))


@lru_cache(maxsize=128)
def _head(skeleton: _Skeleton, before: TensorSpec) -> Block:
    flat = TensorSpec((skeleton.batch, prod(before.shape[1:])), before.bits)
    hidden, out = TensorSpec((skeleton.batch, 16 * skeleton.width)), TensorSpec((skeleton.batch, skeleton.classes))
    operators = (
        Operator("flatten", "flatten", ("in0",), before, flat),
        Operator("hidden", "linear", ("flatten",), flat, hidden, bias=True),
        Operator("relu", "relu", ("hidden",), hidden, hidden),
        Operator("classifier", "linear", ("relu",), hidden, out, bias=True),
    )
    return Block("head", (before,), operators)
