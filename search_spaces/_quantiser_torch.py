"""Fixed-point layers for PyTorch: they compute with rounded numbers and learn as if nothing were rounded."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from search_spaces._quantiser import FixedPoint

#: What the gradient of rounding is taken for: 1, or 1 inside the range of the format and 0 outside.
Ste = Literal["identity", "clipped"]


def fake_quantise(x: Tensor, form: FixedPoint, ste: Ste = "identity") -> Tensor:
    """Return `x` rounded to a format, bit for bit as `quantise` does, with a straight-through gradient.

    The gradient passes as it is (`identity`, as RADARS does), or only where x lies in the format's range (`clipped`).
    """
    detached = x.detach()
    rounded = detached.clamp(form.lowest, form.highest).mul(form.scale).round().mul(form.step)
    if not torch.is_grad_enabled():
        return rounded
    # The difference is 0, so nothing is rounded twice; only its gradient is not.
    through = x.clamp(form.lowest, form.highest) if ste == "clipped" else x
    return rounded + (through - through.detach())


class Quantiser(nn.Module):
    """Rounds a tensor to a format; `active = False` lets it pass."""

    def __init__(self, form: FixedPoint, ste: Ste) -> None:
        super().__init__()
        self.form = form
        self.ste: Ste = ste
        self.active = True

    def forward(self, x: Tensor) -> Tensor:
        """Return the rounded tensor, the same shape."""
        return fake_quantise(x, self.form, self.ste) if self.active else x

    def extra_repr(self) -> str:
        """Return the format and the gradient."""
        return f"{self.form}, ste={self.ste}"


class FixedPointConv2d(nn.Conv2d):
    """A convolution whose weights and bias are rounded to a format whenever it runs; `active = False`: they are not.

    The parameters keep the numbers that are trained.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int,
        stride: int,
        padding: int,
        groups: int,
        bias: bool,
        form: FixedPoint,
        ste: Ste,
    ) -> None:
        super().__init__(*channels, kernel, stride, padding, groups=groups, bias=bias)
        self.form = form
        self.ste: Ste = ste
        self.active = True

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution, shape (batch, channels, height, width)."""
        return self._conv_forward(x, self.weight, self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # the name is torch's
        if self.active:
            weight = fake_quantise(weight, self.form, self.ste)
            bias = None if bias is None else fake_quantise(bias, self.form, self.ste)
        found: Tensor = super()._conv_forward(input, weight, bias)
        return found

    def extra_repr(self) -> str:
        """Return shape, format and gradient."""
        return f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, weights={self.form}, ste={self.ste}"


class StepwiseBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that, when it is not training, divides and adds as the ONNX view does.

    Both round alike then. A value next to the edge of a step would else fall to either side, depending on the view.
    """

    def forward(self, input: Tensor) -> Tensor:  # the name is torch's
        """Return the normalised tensor, the same shape."""
        if self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None
        divisor = torch.sqrt(self.running_var + self.eps) / self.weight
        shift = self.bias - self.running_mean / divisor
        return input / divisor[:, None, None] + shift[:, None, None]


def set_quantised(module: nn.Module, on: bool) -> None:
    """Switch rounding on or off everywhere in a module: some train in floating point and only judge rounded."""
    for layer in module.modules():
        if isinstance(layer, Quantiser | FixedPointConv2d):
            layer.active = on
