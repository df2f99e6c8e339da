"""Quantised CNNs for 32x32 pictures (RADARS, Table I): six fixed-point convolutions, 144 candidates each, 144^6 nets.

A layer is a convolution with fixed-point weights, batch normalisation, ReLU and a quantiser. Searched are its kernel
and two formats: integer and fraction bits of its result (the activations) and of its weights; the sign is one of the
integer bits. The picture is quantised to 8 integer and 8 fraction bits; the head stays in floating point.
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
#: What is decided for a layer, in this order: kernel, format of the activations, format of the weights.
_CHOICES = (KERNELS, INTEGER_BITS, FRACTION_BITS, INTEGER_BITS, FRACTION_BITS)
#: Channels of the layers in multiples of the first one's; every second layer halves the resolution.
_WIDTHS = (1, 1, 2, 2, 4, 4)
IMAGE = FixedPoint(8, 8)
_LAYER = re.compile(r"k([1357])a([13])\.([136])w([13])\.([136])")
_FORM = "Write for instance " + "+".join(["k3a1.3w1.6", "k5a3.6w1.3", "k1a1.1w3.1"] * 2)


class Layer(NamedTuple):
    """What is decided for one layer."""

    kernel: int
    activations: FixedPoint
    weights: FixedPoint

    def __str__(self) -> str:
        return f"k{self.kernel}a{self.activations}w{self.weights}"


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
        resolution: int = 32,
        classes: int = 10,
        batch: int = 1,
    ) -> None:
        """Set the skeleton: channels of the first layer, resolution (a multiple of 8), classes.

        Layers 2, 4 and 6 halve the resolution by their stride, as in the paper's table, or (`pool=1`) by a 2x2 maximum
        after a convolution of stride 1, as in the authors' code. `normalise=0` leaves batch normalisation out, as the
        authors do while they search. The hidden layer of the head has 16 x width units.
        """
        if min(width, resolution, classes, batch) < 1 or resolution % 8:
            raise UsageError("quantised_cnn needs positive options and a resolution that is a multiple of 8")
        if pool not in (0, 1) or normalise not in (0, 1):
            raise UsageError("quantised_cnn: pool and normalise are 0 or 1")
        self._skeleton = _Skeleton(width, pool, normalise, resolution, classes, batch)

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the constructor's keywords."""
        return dict(vars(self._skeleton))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Return the choices of 30 decisions: per layer kernel, and integer and fraction bits of both formats."""
        return _CARDINALITIES

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return (batch, 3, resolution, resolution)."""
        return self._skeleton.input.shape

    @property
    def layer_decisions(self) -> tuple[int, ...]:
        """Return five decisions for each of six layers."""
        return (len(_CHOICES),) * len(_WIDTHS)

    def layers(self, architecture: Architecture) -> tuple[Layer, ...]:
        """Return what the decisions of the six layers mean."""
        return _layers(architecture.decisions)

    def parse(self, text: str) -> Architecture:
        """Return the network of a text: six layers joined by `+`, each kernel, activations, weights: `k3a1.3w1.6`."""
        layers = text.strip().removeprefix("quantised_cnn:").split("+")
        if len(layers) != len(_WIDTHS):
            raise UsageError(
                f"{text!r} is no network of quantised_cnn", "Six layers joined by '+' are expected.", _FORM
            )
        decisions: list[int] = []
        for layer in layers:
            match = _LAYER.fullmatch(layer)
            if match is None:
                known = "Kernels are 1, 3, 5 or 7, integer bits 1 or 3, fraction bits 1, 3 or 6."
                raise UsageError(f"{text!r}: {layer!r} is no layer of quantised_cnn", known, _FORM)
            decisions += [choices.index(int(item)) for choices, item in zip(_CHOICES, match.groups(), strict=True)]
        return _architecture(tuple(decisions))

    def _named(self, decisions: tuple[int, ...]) -> Architecture:
        return _architecture(decisions)

    def factors(self, candidate: Candidate) -> tuple[Candidate, ...]:
        """Return kernel, format of the activations, format of the weights."""
        return candidate[:1], candidate[1:3], candidate[3:]

    def of_factors(self, factors: Sequence[Candidate]) -> Candidate:
        """Return the candidate of a kernel and two formats."""
        return tuple(itertools.chain(*factors))

    def stem_blocks(self) -> tuple[NamedBlock, ...]:
        """Return the quantiser of the picture."""
        return (("image", _image(self._skeleton)),)

    def layer_blocks(self, number: int, candidate: Candidate, before: TensorSpec) -> tuple[NamedBlock, ...]:
        """Return a layer's convolution with what belongs to it, and its quantiser."""
        layer, name = _layer(candidate), number + 1
        conv = _conv(self._skeleton, number, layer.kernel, layer.weights, before.bits)
        return (f"conv{name}", conv), (f"activations{name}", _quantiser(self._skeleton, number, layer.activations))

    def head_blocks(self, before: TensorSpec) -> tuple[NamedBlock, ...]:
        """Return the head."""
        return (("head", _head(self._skeleton, before.bits)),)

    def module(self, architecture: Architecture, seed: int = 0, ste: Ste = "identity") -> GraphModule:
        """Return the network as a module in training mode with seeded weights; `ste` is the gradient of rounding."""
        from search_spaces._torch import to_module

        return to_module(self.graph(architecture), seed=seed, ste=ste)

    def blocks(self) -> tuple[Block, ...]:
        """Return 666 blocks: convolutions by layer, kernel, weights and bits they read, quantisers, heads."""
        return _blocks(self._skeleton)


@dataclass(frozen=True)
class _Skeleton:
    """What all networks of the space with the same options share."""

    width: int
    pool: int
    normalise: int
    resolution: int
    classes: int
    batch: int

    @property
    def input(self) -> TensorSpec:
        """Return the type of the picture."""
        return TensorSpec((self.batch, 3, self.resolution, self.resolution))

    def result(self, layer: int, bits: int = 32) -> TensorSpec:
        """Return the type of a layer's result (-1: the picture), every second layer halving the resolution."""
        if layer < 0:
            return TensorSpec(self.input.shape, bits)
        side = self.resolution >> (layer + 1) // 2
        return TensorSpec((self.batch, self.width * _WIDTHS[layer], side, side), bits)


_CARDINALITIES = tuple(map(len, _CHOICES)) * len(_WIDTHS)


@lru_cache(maxsize=256)
def _layer(candidate: Candidate) -> Layer:
    values = [choices[item] for choices, item in zip(_CHOICES, candidate, strict=True)]
    return Layer(values[0], FixedPoint(*values[1:3]), FixedPoint(*values[3:5]))


@lru_cache(maxsize=1 << 15)
def _layers(decisions: tuple[int, ...]) -> tuple[Layer, ...]:
    return tuple(map(_layer, split_by(decisions, (len(_CHOICES),) * len(_WIDTHS))))


@lru_cache(maxsize=1 << 15)
def _architecture(decisions: tuple[int, ...]) -> Architecture:
    return Architecture("quantised_cnn", decisions, "quantised_cnn:" + "+".join(map(str, _layers(decisions))))


@lru_cache(maxsize=16)
def _blocks(skeleton: _Skeleton) -> tuple[Block, ...]:
    found = [_image(skeleton)]
    low_bits = sorted({form.bits for form in FORMATS})
    for i in range(len(_WIDTHS)):
        for kernel, weights, bits in itertools.product(KERNELS, FORMATS, low_bits if i else [IMAGE.bits]):
            found.append(_conv(skeleton, i, kernel, weights, bits))
        found += [_quantiser(skeleton, i, form) for form in FORMATS]
    return (*found, *(_head(skeleton, bits) for bits in low_bits))


@lru_cache(maxsize=16)
def _image(skeleton: _Skeleton) -> Block:
    return _rounding(skeleton.input, skeleton.result(-1, IMAGE.bits), IMAGE)


@lru_cache(maxsize=1024)
def _quantiser(skeleton: _Skeleton, layer: int, form: FixedPoint) -> Block:
    return _rounding(skeleton.result(layer), skeleton.result(layer, form.bits), form)


def _rounding(before: TensorSpec, after: TensorSpec, form: FixedPoint) -> Block:
    operator = Operator("quantise", "quantise", ("in0",), before, after, fraction_bits=form.fraction_bits)
    return Block(f"quantise{form}", (before,), (operator,))


@lru_cache(maxsize=1 << 14)
def _conv(skeleton: _Skeleton, layer: int, kernel: int, weights: FixedPoint, bits: int) -> Block:
    """Return convolution, normalisation, ReLU and pooling, where there are any; a maximum is rounded after all."""
    before, after = skeleton.result(layer - 1, bits), skeleton.result(layer)
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
def _head(skeleton: _Skeleton, bits: int) -> Block:
    spec = skeleton.result(len(_WIDTHS) - 1, bits)
    flat = TensorSpec((skeleton.batch, prod(spec.shape[1:])), bits)
    hidden, out = TensorSpec((skeleton.batch, 16 * skeleton.width)), TensorSpec((skeleton.batch, skeleton.classes))
    operators = (
        Operator("flatten", "flatten", ("in0",), spec, flat),
        Operator("hidden", "linear", ("flatten",), flat, hidden, bias=True),
        Operator("relu", "relu", ("hidden",), hidden, hidden),
        Operator("classifier", "linear", ("relu",), hidden, out, bias=True),
    )
    return Block("head", (spec,), operators)
