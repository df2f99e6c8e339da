"""Synaptic flow: the sum over all weights of what the paths through them carry, without any data.

Source: Tanaka et al. (NeurIPS 2020), as a score of architectures by Abdelfattah et al. (ICLR 2021): every weight is
replaced by its absolute value, normalisations are left out, the input is all ones, and the sum of |w dR/dw| over the
weights of convolutions and linear layers is taken, R the sum of the outputs. Here its logarithm, which ranks alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from search_spaces._graph import Graph
from searchers.evaluators.zero_cost._base import Build
from searchers.evaluators.zero_cost._torch import ModuleIndicator

_NORMALISATIONS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True, kw_only=True)
class Synflow(ModuleIndicator):
    """The logarithm of the sum, in double precision: it grows with every layer."""

    cost = "one forward and one backward pass of one input in double precision, about 20 ms on one core"

    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return the score; minus infinity where nothing flows."""
        with self.reproducible(self.seed):
            module = self.untrained(graph, build, self.seed).double()
            _make_positive(module)
            weights = [item for item in module.parameters() if item.ndim > 1]
            ones = torch.ones((1, *graph.input.shape[1:]), dtype=torch.float64, device=self.device)
            gradients = torch.autograd.grad(module(ones).sum(), weights, allow_unused=True)
        pairs = zip((item.detach() for item in weights), gradients, strict=True)
        flow = sum(self.flow(weight, gradient) for weight, gradient in pairs if gradient is not None)
        return log(flow) if flow > 0 else -torch.inf

    @staticmethod
    def flow(weight: torch.Tensor, gradient: torch.Tensor) -> float:
        """Return what flows through one tensor of weights; neither argument has negative values."""
        return float((weight * gradient).sum())


def _make_positive(module: nn.Module) -> None:
    """Take absolute values of all parameters, and make every normalisation hand on its input."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.requires_grad_(True).abs_()
    for layer in module.modules():
        if isinstance(layer, _NORMALISATIONS):
            # Evaluation mode: training mode refuses a single value per channel, which is what one input may leave.
            layer.eval().register_forward_hook(lambda _module, inputs, _output: inputs[0])
