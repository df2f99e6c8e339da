"""Common networks written out in plain torch: what benchmarks count and time beside the search spaces' own.

They follow the published layer tables; every one is built from torch's random numbers and returns one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Shape = tuple[int, ...]


def conv(
    before: int, after: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: Any = nn.ReLU
) -> nn.Sequential:
    """Return convolution, normalisation and activation."""
    layers = [
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


class Residual(nn.Module):
    """Adds what its body makes of the input to the input, or to a projection of it."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, last: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut, self.last = body, shortcut or nn.Identity(), last or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        result: Tensor = self.last(self.body(x) + self.shortcut(x))
        return result


def _head(channels: int, classes: int = 1000) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def _basic(before: int, width: int, stride: int) -> nn.Module:
    body = nn.Sequential(conv(before, width, 3, stride), conv(width, width, act=None))
    plain = stride == 1 and before == width
    return Residual(body, None if plain else conv(before, width, 1, stride, act=None), nn.ReLU())


def _bottleneck(before: int, width: int, stride: int, groups: int = 1, factor: int = 1) -> nn.Module:
    inner, after = width * factor, 4 * width
    layers = [conv(before, inner, 1), conv(inner, inner, 3, stride, groups), conv(inner, after, 1, act=None)]
    plain = stride == 1 and before == after
    return Residual(nn.Sequential(*layers), None if plain else conv(before, after, 1, stride, act=None), nn.ReLU())


def _resnet(block: Callable[..., nn.Module], depths: Sequence[int], expansion: int) -> nn.Module:
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    before = 64
    for stage, depth in enumerate(depths):
        for i in range(depth):
            layers.append(block(before, 64 * 2**stage, 2 if stage and not i else 1))
            before = 64 * 2**stage * expansion
    return nn.Sequential(*layers, *_head(before))


def resnet18() -> nn.Module:
    """Return ResNet-18."""
    return _resnet(_basic, (2, 2, 2, 2), 1)


def resnet34() -> nn.Module:
    """Return ResNet-34."""
    return _resnet(_basic, (3, 4, 6, 3), 1)


def resnet50() -> nn.Module:
    """Return ResNet-50."""
    return _resnet(_bottleneck, (3, 4, 6, 3), 4)


def resnext50() -> nn.Module:
    """Return ResNeXt-50 (32 x 4d): grouped convolutions."""
    return _resnet(partial(_bottleneck, groups=32, factor=2), (3, 4, 6, 3), 4)


class SqueezeExcite(nn.Module):
    """Weighs channels by what the mean over the picture says."""

    def __init__(self, channels: int, inner: int, gate: Any = nn.Hardsigmoid) -> None:
        super().__init__()
        self.reduce, self.expand, self.gate = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1), gate()

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighed channels."""
        weights = functional.relu(self.reduce(functional.adaptive_avg_pool2d(x, 1)))
        result: Tensor = x * self.gate(self.expand(weights))
        return result


def _inverted(before: int, inner: int, after: int, kernel: int, stride: int, act: Any, squeeze: int = 0) -> nn.Module:
    gate = nn.Sigmoid if act is nn.SiLU else nn.Hardsigmoid
    layers = [conv(before, inner, 1, act=act)] if inner != before else []
    layers.append(conv(inner, inner, kernel, stride, inner, act))
    if squeeze:
        layers.append(SqueezeExcite(inner, squeeze, gate))  # type: ignore[arg-type]
    body = nn.Sequential(*layers, conv(inner, after, 1, act=None))
    return Residual(body) if stride == 1 and before == after else body


def mobilenet_v2() -> nn.Module:
    """Return MobileNetV2."""
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    layers: list[nn.Module] = [conv(3, 32, 3, 2, act=nn.ReLU6)]
    before = 32
    for expansion, after, depth, stride in rows:
        for i in range(depth):
            layers.append(_inverted(before, before * expansion, after, 3, 1 if i else stride, nn.ReLU6))
            before = after
    return nn.Sequential(*layers, conv(320, 1280, 1, act=nn.ReLU6), *_head(1280))


#: Kernel, inner and outer channels, squeeze-and-excitation, hard swish, stride (Howard et al. 2019, tables 1 and 2).
_V3_LARGE = (
    (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 24, 0, 2), (5, 120, 40, 32, 0, 1),
    (5, 120, 40, 32, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
    (3, 480, 112, 120, 1, 1), (3, 672, 112, 168, 1, 1), (5, 672, 160, 168, 1, 2), (5, 960, 160, 240, 1, 1),
    (5, 960, 160, 240, 1, 1),
)  # fmt: skip
_V3_SMALL = (
    (3, 16, 16, 8, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 24, 1, 2), (5, 240, 40, 64, 1, 1),
    (5, 240, 40, 64, 1, 1), (5, 120, 48, 32, 1, 1), (5, 144, 48, 40, 1, 1), (5, 288, 96, 72, 1, 2),
    (5, 576, 96, 144, 1, 1), (5, 576, 96, 144, 1, 1),
)  # fmt: skip


def _mobilenet_v3(rows: Sequence[Sequence[int]], last: int, hidden: int) -> nn.Module:
    layers: list[nn.Module] = [conv(3, 16, 3, 2, act=nn.Hardswish)]
    before = 16
    for kernel, inner, after, squeeze, hard, stride in rows:
        act = nn.Hardswish if hard else nn.ReLU
        layers.append(_inverted(before, inner, after, kernel, stride, act, squeeze))
        before = after
    layers += [conv(before, last, 1, act=nn.Hardswish), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(last, hidden), nn.Hardswish(), nn.Linear(hidden, 1000))


def mobilenet_v3_large() -> nn.Module:
    """Return MobileNetV3-Large."""
    return _mobilenet_v3(_V3_LARGE, 960, 1280)


def mobilenet_v3_small() -> nn.Module:
    """Return MobileNetV3-Small."""
    return _mobilenet_v3(_V3_SMALL, 576, 1024)


def efficientnet() -> nn.Module:
    """Return a network with the blocks of EfficientNet-B0."""
    rows = (
        (1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2),
        (6, 3, 320, 1, 1),
    )  # fmt: skip
    layers: list[nn.Module] = [conv(3, 32, 3, 2, act=nn.SiLU)]
    before = 32
    for expansion, kernel, after, depth, stride in rows:
        for i in range(depth):
            inner, step = before * expansion, 1 if i else stride
            layers.append(_inverted(before, inner, after, kernel, step, nn.SiLU, max(1, before // 4)))
            before = after
    return nn.Sequential(*layers, conv(320, 1280, 1, act=nn.SiLU), *_head(1280))


def vgg11(hidden: int = 512) -> nn.Module:
    """Return VGG-11; its two hidden linear layers are narrower than the published 4096."""
    layers: list[nn.Module] = []
    before = 3
    for after, pool in ((64, 1), (128, 1), (256, 0), (256, 1), (512, 0), (512, 1), (512, 0), (512, 1)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(True), *([nn.MaxPool2d(2)] if pool else [])]
        before = after
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(512 * 49, hidden), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.Linear(hidden, hidden), nn.ReLU(True), nn.Linear(hidden, 1000))


class _Dense(nn.Module):
    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        layers = [nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, 4 * growth, 1, bias=False)]
        self.body = nn.Sequential(
            *layers, nn.BatchNorm2d(4 * growth), nn.ReLU(), nn.Conv2d(4 * growth, growth, 3, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet(growth: int = 32, depths: Sequence[int] = (6, 12, 24, 16)) -> nn.Module:
    """Return DenseNet-121."""
    width = 2 * growth
    layers: list[nn.Module] = [conv(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for i, depth in enumerate(depths):
        for _ in range(depth):
            layers.append(_Dense(width, growth))
            width += growth
        if i + 1 < len(depths):
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
            width //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(), *_head(width))


class _Shuffle(nn.Module):
    """Half of the channels pass, the other half is convolved; then the halves are mixed (ShuffleNetV2)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        half = after // 2
        inner = before if stride > 1 else half
        middle = conv(half, half, 3, stride, half, None)
        self.right = nn.Sequential(conv(inner, half, 1), middle, conv(half, half, 1))
        left = nn.Sequential(conv(before, before, 3, stride, before, None), conv(before, half, 1))
        self.left = left if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        kept, used = (x, x) if self.left is not None else x.chunk(2, 1)
        joined = torch.cat([kept if self.left is None else self.left(kept), self.right(used)], 1)
        batch, channels, height, width = joined.shape
        return joined.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(joined.shape)


def shufflenet_v2() -> nn.Module:
    """Return ShuffleNetV2 1.0x."""
    layers: list[nn.Module] = [conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    before = 24
    for after, depth in ((116, 4), (232, 8), (464, 4)):
        layers += [_Shuffle(before if not i else after, after, 1 if i else 2) for i in range(depth)]
        before = after
    return nn.Sequential(*layers, conv(464, 1024, 1), *_head(1024))


class _Fire(nn.Module):
    def __init__(self, before: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeezed, 1)
        self.one, self.three = nn.Conv2d(squeezed, expanded, 1), nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.squeeze(x))
        return torch.cat([functional.relu(self.one(x)), functional.relu(self.three(x))], 1)


def squeezenet() -> nn.Module:
    """Return SqueezeNet 1.1."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
    layers += [_Fire(64, 16, 64), _Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True), _Fire(128, 32, 128)]
    layers += [_Fire(256, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True), _Fire(256, 48, 192), _Fire(384, 48, 192)]
    layers += [_Fire(384, 64, 256), _Fire(512, 64, 256), nn.Conv2d(512, 1000, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def mlp() -> nn.Module:
    """Return a perceptron of four layers."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(256, 128), nn.Tanh(), nn.Linear(128, 10))
