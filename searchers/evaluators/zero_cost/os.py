"""Output sensitivity: how much noise on its input moves the outputs of an untrained network.

Source: Tran and Bae (JBE 26(7), 2021) after Forouzesh, Salehi and Thiran (ICPR 2020). With e noise of N(0, sigma^2) and
err = f(x + e) - f(x) averaged over M draws of e, S is the variance of err over the outputs, averaged over the inputs.
The paper names neither sigma nor M.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hilnas.errors import UsageError
from search_spaces._graph import Graph
from searchers.evaluators.zero_cost._base import Build
from searchers.evaluators.zero_cost._torch import BatchIndicator


@dataclass(frozen=True, kw_only=True)
class Os(BatchIndicator):
    """The variance of the averaged error; all inputs, with and without noise, share one batch and so its statistics."""

    cost = "one forward pass of batch x (draws + 1) inputs, about 200 ms on one core"

    batch: int = 8
    draws: int = 15
    sigma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 1 or not 0 < self.sigma < float("inf"):
            raise UsageError("os needs at least one draw of noise, and a positive sigma")

    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return the variance; NaN of a network with a single output."""
        clean = self.inputs_of(graph)
        generator = torch.Generator().manual_seed(self.seed)
        noise = self.sigma * torch.randn((self.draws, *clean.shape), generator=generator).to(clean)
        with self.reproducible(self.seed), torch.no_grad():
            shown = torch.cat([clean[None], clean + noise]).flatten(0, 1)
            outputs = self.untrained(graph, build, self.seed)(shown).double()
        still, *moved = outputs.reshape(self.draws + 1, self.batch, -1)
        error = torch.stack(moved).mean(0) - still
        return float(error.var(dim=1).mean()) if error.shape[1] > 1 else torch.nan
