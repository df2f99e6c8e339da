"""Jacobian covariance: how little the output's gradients with respect to different inputs agree."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces._graph import Graph
from searchers.evaluators.zero_cost._base import Build
from searchers.evaluators.zero_cost._correlation import eigen_score, gradient_correlation
from searchers.evaluators.zero_cost._torch import BatchIndicator


@dataclass(frozen=True, kw_only=True)
class Jacov(BatchIndicator):
    """The eigenvalue form over one batch of different inputs, batch normalisation in training mode."""

    cost = "one forward and one backward pass of a batch, about 80 ms on one core"

    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return the score; NaN where the gradient of an input is constant, which leaves no correlation."""
        with self.reproducible(self.seed):
            module = self.untrained(graph, build, self.seed)
            return eigen_score(gradient_correlation(module, self.inputs_of(graph)))
