"""Inverted bottlenecks in three stages, as a function of width, depth and activation."""

from torch import Tensor, nn

ACTIVATIONS = {"relu": nn.ReLU, "hardswish": nn.Hardswish}


class Bottleneck(nn.Module):
    """Four times wider, filtered channel by channel, and narrow again; added to its input where the shapes agree."""

    def __init__(self, before: int, after: int, stride: int, activation: str) -> None:
        super().__init__()
        inner = 4 * before
        self.layers = nn.Sequential(
            *unit(before, inner, 1, activation=activation),
            *unit(inner, inner, 3, stride, groups=inner, activation=activation),
            *unit(inner, after, 1),
        )
        self.skips = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, half as high and wide where the stride is 2."""
        result: Tensor = self.layers(x)
        return x + result if self.skips else result


def unit(
    before: int, after: int, kernel: int, stride: int = 1, groups: int = 1, activation: str = ""
) -> list[nn.Module]:
    """Return convolution, normalisation and activation, where there is one."""
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(after), *([ACTIVATIONS[activation]()] if activation else [])]


def build(width: int, depth: int, activation: str, resolution: int) -> nn.Module:
    """Return the network; `resolution` is the side of the picture, which its layers do not depend on."""
    layers = unit(3, width, 3, stride=2, activation=activation)
    before = width
    for stage in range(3):
        after = width << stage
        for i in range(depth):
            layers.append(Bottleneck(before, after, 2 if i == 0 else 1, activation))
            before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 100))
