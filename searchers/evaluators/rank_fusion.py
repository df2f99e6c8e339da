"""Several scores as one, without labels: a candidate is as good as the worst of its ranks.

A search finds what one indicator overrates; the minimum asks all of them to agree. On validation accuracy of
nasbench201 it chose better of 500 random feasible cells than means of ranks and of normal scores, for each of five sets
of indicators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers.evaluators._base import Evaluator
from searchers.evaluators._fusion import Fusion
from searchers.evaluators._normal_scores import Array

#: Weight of the mean: scores with few values leave ties.
_TIES = 0.01


class RankFusion(Fusion):
    """The smallest of the scores' normal scores; among equals their mean decides."""

    def __init__(self, space: SearchSpace, *, parts: Sequence[Evaluator] = (), seed: int = 0) -> None:
        super().__init__(space, parts, seed)

    def seeded(self, seed: int) -> RankFusion:
        """Return the fusion whose population is drawn under this seed."""
        return RankFusion(self.space, parts=self._parts, seed=seed)

    def _fused(self, normal: Array, architectures: Sequence[Architecture]) -> Array:
        return np.asarray(normal.min(axis=1) + _TIES * normal.mean(axis=1))

    def describe(self) -> dict[str, Any]:
        """Return the fused scores and how they are fused."""
        return self._description("rank fusion")
