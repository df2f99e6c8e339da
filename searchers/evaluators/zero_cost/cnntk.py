"""Condition number of the neural tangent kernel: how alike the directions are in which a network learns its inputs.

Source: Tran and Bae (JBE 26(7), 2021) after TE-NAS (Chen et al., ICLR 2021). With G the gradients of the sum of the
outputs of each input with respect to all weights, the kernel is G G^T; the score is its smallest eigenvalue over its
largest one, the mean of several networks. As there, batch normalisation is in training mode: what one input does to the
statistics of the batch is a part of its gradient, so one pass cannot give the gradients of all. As many passes as
inputs are computed at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hilnas.errors import UsageError
from search_spaces._graph import Graph
from searchers.evaluators.zero_cost._base import Build
from searchers.evaluators.zero_cost._torch import BatchIndicator

#: The least the score can be: what rounding leaves of a smaller eigenvalue says nothing.
_LEAST = 1e-12


@dataclass(frozen=True, kw_only=True)
class Cnntk(BatchIndicator):
    """Smallest over largest eigenvalue of the kernel; 1 is best."""

    cost = "as many backward passes of a thin network as inputs, about 400 ms on one core"
    #: TE-NAS' thin network.
    proxy: ClassVar[Mapping[str, Any]] = {"depth": 1, "width": 3}

    batch: int = 16
    repeats: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repeats < 1:
            raise UsageError("cnntk needs one network at least")

    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return the mean over the networks; NaN where no weight has a gradient."""
        return fmean(self._ratio(graph, build, self.seed + i) for i in range(self.repeats))

    def _ratio(self, graph: Graph, build: Build | None, seed: int) -> float:
        with self.reproducible(seed):
            module = self.untrained(graph, build, seed)
            return eigenvalue_ratio(weight_gradients(module, self.inputs_of(graph)))


def weight_gradients(module: nn.Module, inputs: Tensor) -> Tensor:
    """Return the gradient of the sum of the outputs of each input, shape (n, weights)."""
    outputs = module(inputs).flatten(1).sum(1)
    one_each = torch.eye(len(outputs), dtype=outputs.dtype, device=outputs.device)
    found = torch.autograd.grad(outputs, weights_of(module), one_each, is_grads_batched=True, allow_unused=True)
    return torch.cat([gradient.flatten(1) for gradient in found if gradient is not None], dim=1)


def weights_of(module: nn.Module) -> list[nn.Parameter]:
    """Return the trainable weights, those of normalisations included and biases not."""
    return [item for name, item in module.named_parameters() if name.endswith("weight") and item.requires_grad]


def eigenvalue_ratio(gradients: Tensor) -> float:
    """Return the smallest over the largest eigenvalue of G G^T, at least 1e-12; NaN where there is none."""
    kernel = gradients.double() @ gradients.double().T
    if not torch.isfinite(kernel).all() or not kernel.any():
        return torch.nan
    values = torch.linalg.eigvalsh(kernel)
    return max(float(values[0] / values[-1]), _LEAST)
