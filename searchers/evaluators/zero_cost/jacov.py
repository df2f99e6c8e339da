"""Jacobian covariance: how little the output's gradients with respect to different inputs agree.

Source: the first version of Mellor et al., "Neural Architecture Search without Training" (eigenvalue form, as the
zero-cost suites of Abdelfattah et al., ICLR 2021, and NASLib use it). With J the gradient of the sum of the outputs for
each input, flattened, and v the eigenvalues of the correlation matrix of its rows: -sum(log(v + k) + 1 / (v + k)),
k = 1e-5.
"""

from __future__ import annotations

import torch

from search_spaces._graph import Graph
from searchers.evaluators.zero_cost._base import Build
from searchers.evaluators.zero_cost._torch import BatchIndicator, input_batch, reproducible, untrained

_K = 1e-5


class Jacov(BatchIndicator):
    """The eigenvalue form over one batch, batch normalisation in training mode."""

    cost = "one forward and one backward pass of a batch, about 80 ms on one core"

    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return the score; NaN where the gradient of an input is constant, which leaves no correlation."""
        inputs = input_batch(self._inputs, graph.input.shape, self._batch, self._seed).clone().requires_grad_(True)
        with reproducible(self._seed):
            module = untrained(graph, self._seed, build).requires_grad_(False)
            (gradients,) = torch.autograd.grad(module(inputs).sum(), inputs)
            correlation = torch.corrcoef(gradients.flatten(1).double())
        if not torch.isfinite(correlation).all():
            return torch.nan
        # A correlation matrix has no negative eigenvalues; rounding gives tiny ones.
        values = torch.linalg.eigvalsh(correlation).clamp_min(0.0)
        return float(-(torch.log(values + _K) + 1 / (values + _K)).sum())
