"""Random networks and supernets to train, all of their structure decided by a seed; torch and numpy are enough.

`build(family, seed, **options)` makes a module; `FAMILIES` names the families. Supernets keep what they learn of their
architecture in parameters called `alpha`.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces._quantiser import FixedPoint
from search_spaces._quantiser_torch import FixedPointConv2d, Quantiser

#: Choices of a layer of RADARS' space for CIFAR-10 (Table I); formats as (integer bits, fraction bits).
KERNELS = (1, 3, 5, 7)
FORMATS = tuple(itertools.product((1, 3), (1, 3, 6)))
_WIDTHS = (1, 1, 2, 2, 4, 4)


@dataclass(frozen=True)
class SubSpace:
    """For each of six layers its kernels, formats of activations and formats of weights."""

    layers: tuple[tuple[Sequence[int], Sequence[Sequence[int]], Sequence[Sequence[int]]], ...]

    @property
    def candidates(self) -> int:
        """Return the candidates of all layers."""
        return sum(len(kernels) * len(acts) * len(weights) for kernels, acts, weights in self.layers)


def draw_sub_space(seed: int, most: int) -> SubSpace:
    """Return a sub-space with 1 to `most` choices of each kind a layer."""
    rng = random.Random(seed)

    def some(choices: Sequence[Any]) -> list[Any]:
        return sorted(rng.sample(choices, rng.randint(1, min(most, len(choices)))))

    return SubSpace(tuple((some(KERNELS), some(FORMATS), some(FORMATS)) for _ in _WIDTHS))


class Mixture(nn.Module):
    """The sum of candidates, weighted by the softmax of what is learnt of them."""

    def __init__(self, candidates: Sequence[nn.Module]) -> None:
        super().__init__()
        self.candidates = nn.ModuleList(candidates)
        self.alpha = nn.Parameter(torch.ones(len(candidates)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum."""
        shares = self.alpha.softmax(0)
        total: Tensor = shares[0] * self.candidates[0](x)
        for i, candidate in enumerate(self.candidates[1:], 1):
            total += shares[i] * candidate(x)
        return total


def quantised_supernet(space: SubSpace, width: int = 64, resolution: int = 32) -> nn.Module:
    """Return the supernet of a sub-space as RADARS' authors train it: weights of its own for every candidate.

    Kernels are mixed, and for each kernel its formats; convolution, normalisation, ReLU, rounding; a maximum over 2x2
    after layers 2, 4 and 6.
    """
    layers: list[nn.Module] = []
    channels = 3
    for i, (kernels, activations, weights) in enumerate(space.layers):
        out = width * _WIDTHS[i]
        formats = list(itertools.product(weights, activations))
        by_kernel = [Mixture([_fixed_point(channels, out, kernel, w, a) for w, a in formats]) for kernel in kernels]
        layers.append(Mixture(by_kernel))
        channels = out
        if i % 2:
            layers.append(nn.MaxPool2d(2))
    flat = channels * (resolution // 8) ** 2
    head = nn.Sequential(nn.Linear(flat, 16 * width), nn.ReLU(), nn.Linear(16 * width, 10))
    return nn.Sequential(*layers, nn.Flatten(), head)


def _fixed_point(channels: int, out: int, kernel: int, weights: Sequence[int], activations: Sequence[int]) -> nn.Module:
    form = FixedPoint(*weights)
    conv = FixedPointConv2d((channels, out), kernel, 1, kernel // 2, 1, True, form, "identity")
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(), Quantiser(FixedPoint(*activations), "identity"))


class Residual(nn.Module):
    """A block beside a shortcut."""

    def __init__(self, block: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.block, self.shortcut = block, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both."""
        return torch.relu(self.block(x) + self.shortcut(x))


class Cell(nn.Module):
    """A cell of four nodes; each gets a mixture of operators from every node before it."""

    def __init__(self, rng: random.Random, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(Mixture(_operators(rng, channels)) for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        """Return the last node, the same shape."""
        nodes, edges = [x], iter(self.edges)
        for _ in range(3):
            reached = [next(edges)(node) for node in nodes]
            nodes.append(torch.stack(reached).sum(0) if len(reached) > 2 else sum(reached[1:], reached[0]))
        return nodes[-1]


def _operators(rng: random.Random, channels: int) -> list[nn.Module]:
    every: list[Callable[[], nn.Module]] = [
        nn.Identity,
        lambda: nn.AvgPool2d(3, 1, 1),
        lambda: nn.MaxPool2d(3, 1, 1),
        lambda: _conv(channels, channels, 1),
        lambda: _conv(channels, channels, 3),
        lambda: nn.Sequential(_conv(channels, channels, 5, groups=channels), _conv(channels, channels, 1)),
        lambda: _conv(channels, channels, 3, dilation=2),
    ]
    return [make() for make in rng.sample(every, rng.randint(3, 5))]


def _conv(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Module:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())


def _plain(rng: random.Random) -> nn.Module:
    layers, channels = [], 3
    for _ in range(rng.randint(2, 4)):
        out = rng.choice((24, 32, 48, 64, 96))
        for _ in range(rng.randint(1, 3)):
            layers.append(_conv(channels, out, rng.choice((1, 3, 3, 5, 7))))
            channels = out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, _head(channels))


def _residual(rng: random.Random) -> nn.Module:
    width = rng.choice((16, 32, 64))
    layers, channels = [_conv(3, width, 3)], width
    for stage in range(rng.randint(2, 3)):
        for i in range(rng.randint(1, 3)):
            out, stride = width << stage, 2 if stage and not i else 1
            block = nn.Sequential(_conv(channels, out, 3, stride), _conv(out, out, 3))
            layers.append(Residual(block, _conv(channels, out, 1, stride) if channels != out else nn.Identity()))
            channels = out
    return nn.Sequential(*layers, _head(channels))


def _mobile(rng: random.Random) -> nn.Module:
    channels = rng.choice((16, 24, 32))
    layers = [_conv(3, channels, 3, 2)]
    for _ in range(rng.randint(3, 7)):
        hidden, kernel = channels * rng.choice((3, 6)), rng.choice((3, 5, 7))
        project = nn.Sequential(nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels))
        block = nn.Sequential(_conv(channels, hidden, 1), _conv(hidden, hidden, kernel, groups=hidden), project)
        layers.append(Residual(block, nn.Identity()))
    return nn.Sequential(*layers, _head(channels))


def _cells(rng: random.Random) -> nn.Module:
    channels = rng.choice((16, 24, 32))
    layers = [_conv(3, channels, 3)]
    for stage in range(2):
        layers += [Cell(rng, channels) for _ in range(rng.randint(1, 2))]
        if not stage:
            layers.append(_conv(channels, 2 * channels, 3, 2))
            channels *= 2
    return nn.Sequential(*layers, _head(channels))


class _Patches(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, patches, width)."""
        patches: Tensor = self.conv(x)
        return patches.flatten(2).transpose(1, 2)


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over patches."""
        return x.mean(1)


def _transformer(rng: random.Random) -> nn.Module:
    heads = rng.choice((2, 4))
    width = 32 * heads
    layers = [
        nn.TransformerEncoderLayer(width, heads, 4 * width, 0.1, rng.choice(("relu", "gelu")), batch_first=True)
        for _ in range(rng.randint(2, 4))
    ]
    return nn.Sequential(_Patches(width, 4), *layers, _Mean(), nn.Linear(width, 10))


def _quantised(rng: random.Random) -> nn.Module:
    return quantised_supernet(draw_sub_space(rng.randrange(1 << 30), 3), rng.choice((8, 16)))


def _head(channels: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


FAMILIES: dict[str, Callable[[random.Random], nn.Module]] = {
    "plain": _plain,
    "residual": _residual,
    "mobile": _mobile,
    "transformer": _transformer,
    "cells": _cells,
    "quantised": _quantised,
}
SUPERNETS = ("cells", "quantised")


def build(family: str, seed: int) -> nn.Module:
    """Return a network of a family."""
    return FAMILIES[family](random.Random(seed))


def build_sub_space(layers: Sequence[Any], width: int = 64) -> nn.Module:
    """Return the supernet of a sub-space."""
    return quantised_supernet(SubSpace(tuple(map(tuple, layers))), width)
