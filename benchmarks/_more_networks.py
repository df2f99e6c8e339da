"""Networks with attention, contractions, transposed, one- and three-dimensional convolutions; and the list of all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import _networks as nets
from benchmarks._networks import Residual, Shape, conv


class Attention(nn.Module):
    """Self-attention over tokens (batch, length, width), its products written in one of four ways."""

    def __init__(self, width: int, heads: int, form: str) -> None:
        super().__init__()
        self.heads, self.form = heads, form
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the tokens make of each other."""
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = self._mixed(*qkv.unbind(0))
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return result

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scale = q.shape[-1] ** -0.5
        if self.form == "fused":
            return functional.scaled_dot_product_attention(q, k, v)
        if self.form == "einsum":
            weights = torch.einsum("bhid,bhjd->bhij", q, k) * scale
            return torch.einsum("bhij,bhjd->bhid", weights.softmax(-1), v)
        if self.form == "baddbmm":
            batch, heads, length, size = q.shape
            q, k, v = (item.reshape(batch * heads, length, size) for item in (q, k, v))
            bias = torch.zeros(batch * heads, length, length, device=q.device)
            weights = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)
            return torch.bmm(weights.softmax(-1), v).reshape(batch, heads, length, size)
        mixed: Tensor = ((q @ k.transpose(-2, -1)) * scale).softmax(-1) @ v
        return mixed


def vit_block(form: str = "matmul", width: int = 192, heads: int = 3) -> nn.Module:
    """Return one block of a vision transformer over tokens."""
    attention = nn.Sequential(nn.LayerNorm(width), Attention(width, heads, form))
    hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
    return nn.Sequential(Residual(attention), Residual(hidden))


class VisionTransformer(nn.Module):
    """ViT with a class token."""

    def __init__(self, width: int, heads: int, depth: int, patch: int, size: int, form: str = "matmul") -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(vit_block(form, width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Return the classes' scores."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        result: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return result


class UNet(nn.Module):
    """Down and up again with transposed convolutions, and everything seen on the way down joined on the way up."""

    def __init__(self, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(depth + 1)]
        pairs = list(pairwise(widths))
        self.entry = conv(3, width)
        self.down = nn.ModuleList([nn.Sequential(nn.MaxPool2d(2), conv(a, b), conv(b, b)) for a, b in pairs])
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs)])
        self.join = nn.ModuleList([nn.Sequential(conv(2 * a, a), conv(a, a)) for a, _ in reversed(pairs)])
        self.exit = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of two classes."""
        seen = [self.entry(x)]
        for step in self.down:
            seen.append(step(seen[-1]))
        x = seen.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([up(x), seen.pop()], 1))
        result: Tensor = self.exit(x)
        return result


class Mixer(nn.Module):
    """MLP-Mixer: linear layers over tokens and over channels in turn."""

    def __init__(self, width: int = 128, depth: int = 4, patch: int = 16, size: int = 128) -> None:
        super().__init__()
        tokens = (size // patch) ** 2
        self.patches, self.head = nn.Conv2d(3, width, patch, patch), nn.Linear(width, 1000)
        self.over_tokens = nn.ModuleList([self._mlp(tokens) for _ in range(depth)])
        self.over_channels = nn.ModuleList([self._mlp(width) for _ in range(depth)])

    @staticmethod
    def _mlp(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the classes' scores."""
        x = self.patches(x).flatten(2)
        for tokens, channels in zip(self.over_tokens, self.over_channels, strict=True):
            x = x + tokens(x)
            x = x + channels(x.transpose(1, 2)).transpose(1, 2)
        result: Tensor = self.head(x.mean(-1))
        return result


def convnext(width: int = 48) -> nn.Module:
    """Return a small ConvNeXt-like network: wide depthwise kernels, group normalisation."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 4)]
    for stage, depth in enumerate((2, 2, 3)):
        wide = width * 2**stage
        for _ in range(depth):
            middle = [nn.Conv2d(wide, 4 * wide, 1), nn.GELU(), nn.Conv2d(4 * wide, wide, 1)]
            layers.append(
                Residual(
                    nn.Sequential(nn.Conv2d(wide, wide, 7, padding=3, groups=wide), nn.GroupNorm(1, wide), *middle)
                )
            )
        if stage < 2:
            layers.append(nn.Conv2d(wide, 2 * wide, 2, 2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 1000))


def sound() -> nn.Module:
    """Return a one-dimensional network for sound, dilated."""
    layers: list[nn.Module] = [nn.Conv1d(1, 32, 80, 4), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(4)]
    for i in range(3):
        layers += [nn.Conv1d(32, 32, 3, padding=2**i, dilation=2**i), nn.BatchNorm1d(32), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 35))


def film() -> nn.Module:
    """Return a three-dimensional network for short films."""
    layers: list[nn.Module] = [nn.Conv3d(3, 16, 3, (1, 2, 2), 1), nn.BatchNorm3d(16), nn.ReLU(), nn.MaxPool3d(2)]
    layers += [nn.Conv3d(16, 32, 3, 1, 1, groups=4), nn.BatchNorm3d(32), nn.ReLU(), nn.AdaptiveAvgPool3d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 10))


class Recurrent(nn.Module):
    """An LSTM over a sequence, and what its last step says."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(32, 64, 2, batch_first=True), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return the classes' scores."""
        result: Tensor = self.head(self.lstm(x)[0][:, -1])
        return result


class Network(NamedTuple):
    """A network, its input shape and, where a counter is known to count it differently, why."""

    name: str
    build: Callable[[], nn.Module]
    shape: Shape
    differs: str = ""


_PICTURE = (1, 3, 224, 224)
_SMALL = (1, 3, 128, 128)
_TOKENS = (1, 65, 192)

NETWORKS = (
    Network("resnet18", nets.resnet18, _PICTURE),
    Network("resnet34", nets.resnet34, _SMALL),
    Network("resnet50", nets.resnet50, _PICTURE),
    Network("resnext50", nets.resnext50, _SMALL),
    Network("mobilenet_v2", nets.mobilenet_v2, _PICTURE),
    Network("mobilenet_v3_small", nets.mobilenet_v3_small, _PICTURE),
    Network("mobilenet_v3_large", nets.mobilenet_v3_large, _PICTURE),
    Network("efficientnet", nets.efficientnet, _PICTURE),
    Network("densenet121", nets.densenet, _SMALL),
    Network("shufflenet_v2", nets.shufflenet_v2, _PICTURE),
    Network("squeezenet", nets.squeezenet, _PICTURE),
    Network("vgg11", nets.vgg11, _PICTURE),
    Network("mlp", nets.mlp, (1, 1, 28, 28)),
    Network("unet", UNet, _SMALL),
    Network("convnext", convnext, _SMALL),
    Network("mixer", Mixer, _SMALL),
    Network("vit_tiny", lambda: VisionTransformer(192, 3, 12, 16, 128), _SMALL),
    Network("vit_block", vit_block, _TOKENS),
    Network("sound", sound, (1, 1, 8000)),
    Network("film", film, (1, 3, 8, 64, 64)),
    Network("vit_einsum", lambda: vit_block("einsum"), _TOKENS, "fvcore reads einsum from a text of four digits"),
    Network("vit_fused", lambda: vit_block("fused"), _TOKENS, "fvcore does not count fused attention"),
    Network("vit_baddbmm", lambda: vit_block("baddbmm"), _TOKENS, "fvcore does not count baddbmm"),
    Network("lstm", Recurrent, (1, 16, 32), "fvcore does not count recurrent layers"),
)
