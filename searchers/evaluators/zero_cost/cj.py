"""Correlation of Jacobians: how many pairs of slightly different inputs have gradients that hardly agree.

Source: Tran and Bae (JBE 26(7), 2021): S = #{(i, j): 0 < Sigma_ij < beta}, Sigma the correlation matrix of the input
gradients of copies of one picture, each with a square cut out (Cutout: DeVries and Taylor, 2017). The paper names
neither beta nor the number of copies; beta = 1/4 is that of the submission whose score it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hilnas.errors import UnknownName
from search_spaces._graph import Graph
from searchers.evaluators.zero_cost._base import Build
from searchers.evaluators.zero_cost._correlation import count_score, eigen_score, gradient_correlation
from searchers.evaluators.zero_cost._torch import BatchIndicator

VARIANTS = ("count", "eigen")


@dataclass(frozen=True, kw_only=True)
class Cj(BatchIndicator):
    """The counting form; `variant=eigen` is `jacov` on as many different inputs."""

    cost = "one forward and one backward pass of a batch, about 170 ms on one core"

    batch: int = 64
    variant: str = "count"
    beta: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in VARIANTS:
            raise UnknownName("variant of cj", self.variant, VARIANTS)

    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return the score; NaN where the gradient of an input is constant, which leaves no correlation."""
        with self.reproducible(self.seed):
            correlation = gradient_correlation(self.untrained(graph, build, self.seed), self.samples(graph))
        return eigen_score(correlation) if self.variant == "eigen" else count_score(correlation, self.beta)

    def samples(self, graph: Graph) -> Tensor:
        """Return what the network is shown."""
        if self.variant == "eigen":
            return self.inputs_of(graph)
        # Standardised together with the others of the batch: one picture alone may have no variance.
        picture = self.inputs_of(graph)[:1]
        return cutouts(picture, self.batch, self.seed)


def cutouts(picture: Tensor, n: int, seed: int) -> Tensor:
    """Return n copies of a picture, shape (1, channels, height, width), each with a hole of half its sides.

    The centre of a hole is anywhere, so that a part of it may lie outside, as in Cutout; it is filled with 0, the mean.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (_holes(size, n, generator) for size in picture.shape[2:])
    hole = (rows[:, None, :, None] & columns[:, None, None, :]).to(picture.device)
    return torch.where(hole, 0.0, picture)


def _holes(size: int, n: int, generator: torch.Generator) -> Tensor:
    """Return what n holes cover of one side, shape (n, size)."""
    start = torch.randint(size, (n, 1), generator=generator) - size // 4
    place = torch.arange(size)
    return (place >= start) & (place < start + size // 2)
