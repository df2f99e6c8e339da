"""NASWOT: how differently an untrained network's ReLUs answer to different inputs.

Source: Mellor, Turner, Storkey and Crowley, "Neural Architecture Search without Training", ICML 2021 (the second
version of the score). With x the binary codes of all ReLUs, K = x x^T + (1 - x)(1 - x)^T; the score is log |det K|.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces._graph import Graph
from searchers.evaluators.zero_cost._base import Build
from searchers.evaluators.zero_cost._torch import BatchIndicator, watched


@dataclass(frozen=True, kw_only=True)
class Nwot(BatchIndicator):
    """log |det K| over a batch; ReLUs that do not depend on the input or never reach the output do not count."""

    cost = "one forward pass of a batch, about 60 ms on one core"

    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return log |det K|; minus infinity where two inputs have the same codes."""
        kernel = _Kernel(self.batch)
        with self.reproducible(self.seed), torch.no_grad():
            module = self.untrained(graph, build, self.seed)
            with watched(module, graph, kernel.add):
                module(self.inputs_of(graph))
        sign, log_determinant = torch.linalg.slogdet(kernel.matrix)
        return float(log_determinant) if sign != 0 else -torch.inf


class _Kernel:
    """Adds up K, shape (batch, batch), over the outputs of ReLUs."""

    def __init__(self, batch: int) -> None:
        self.matrix = torch.zeros((batch, batch), dtype=torch.float64)

    def add(self, output: Tensor) -> None:
        """Add the agreements of one of them: x x^T + (1 - x)(1 - x)^T = 2 x x^T + n - r 1^T - 1 r^T, r the row sums."""
        codes = (output > 0).flatten(1).to(output.dtype)
        active = codes.sum(1)
        self.matrix += (2 * (codes @ codes.T) + codes.shape[1] - active[:, None] - active).cpu()
