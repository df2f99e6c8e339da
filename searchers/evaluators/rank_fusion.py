"""Several scores as one, without labels: the mean of their normal scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from search_spaces._base import SearchSpace
from searchers.evaluators._base import Evaluator
from searchers.evaluators._fusion import Fusion
from searchers.evaluators._normal_scores import Array


class RankFusion(Fusion):
    """The mean of the scores' normal scores: a mean of ranks that tells the best ones better apart."""

    def __init__(self, space: SearchSpace, *, parts: Sequence[Evaluator] = (), seed: int = 0) -> None:
        super().__init__(space, parts, seed)

    def seeded(self, seed: int) -> RankFusion:
        """Return the fusion whose population is drawn under this seed."""
        return RankFusion(self.space, parts=self._parts, seed=seed)

    def _fused(self, normal: Array) -> Array:
        return np.asarray(normal.mean(axis=1))

    def describe(self) -> dict[str, Any]:
        """Return the fused scores and how they are fused."""
        return self._description("rank fusion")
