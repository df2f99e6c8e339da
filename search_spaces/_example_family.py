"""The family that the space `parametric` holds where no file is given: small mobile networks for small pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def build(*, width: int, depth: int, kernel: int, gate: bool, resolution: int) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a network of two stages of `depth` inverted bottlenecks, and its input shape."""
    layers: list[nn.Module] = [_conv(3, width, 3, stride=2)]
    for stage in (1, 2):
        channels = width * stage
        for i in range(depth):
            entry, stride = (width, stage) if i == 0 else (channels, 1)
            layers.append(_Bottleneck(entry, channels, kernel, stride, gate))
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10))
    return network, (1, 3, resolution, resolution)


class _Bottleneck(nn.Module):
    """Widen, filter every channel, squeeze; added to its input where the shapes agree."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, gate: bool) -> None:
        super().__init__()
        inner = 2 * before
        self.widen = _conv(before, inner, 1)
        self.filter = _conv(inner, inner, kernel, stride, groups=inner)
        self.gate = _Gate(inner) if gate else nn.Identity()
        self.squeeze = nn.Sequential(nn.Conv2d(inner, after, 1, bias=False), nn.BatchNorm2d(after))
        self.skips = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, shape (batch, after, height / stride, width / stride)."""
        result: Tensor = self.squeeze(self.gate(self.filter(self.widen(x))))
        return x + result if self.skips else result


class _Gate(nn.Module):
    """Squeeze and excitation: every channel times a weight that depends on all of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels // 4, 1)
        self.up = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted channels, shaped as they were."""
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.up(torch.relu(self.down(pooled))))


def _conv(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU6())
