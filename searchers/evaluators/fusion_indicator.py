"""Fusion Indicator: a weighted sum of scores, its weights learned from a few labels.

Source: Tran, Ali and Bae, "A Feature Fusion Based Indicator for Training-Free Neural Architecture Search", IEEE Access
9, 2021: weights that minimise the squared error of the predicted accuracy. They publish none. Here the sum runs
over the normal scores of the ranks and their squares (the highest value of an indicator is often not the best), and
predicts the normal score of the accuracy: ridge regression on a few random architectures, its penalty by leave-one-out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers.evaluators._base import Evaluator
from searchers.evaluators._fusion import Fusion
from searchers.evaluators._labels import Labels
from searchers.evaluators._normal_scores import Array, NormalScores

_PENALTIES = np.logspace(-2, 4, 25)


class FusionIndicator(Fusion):
    """Predicts how the accuracy ranks; what its labels belong to, isomorphic forms included, may not win."""

    def __init__(
        self,
        space: SearchSpace,
        *,
        parts: Sequence[Evaluator] = (),
        labels: Labels | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(space, parts, seed)
        self._labels = labels or Labels()

    def seeded(self, seed: int) -> FusionIndicator:
        """Return the fusion whose labels and population are drawn under this seed."""
        return FusionIndicator(self.space, parts=self._parts, labels=self._labels, seed=seed)

    def may_win(self, architecture: Architecture) -> bool:
        """Return whether no label of the architecture's form was seen."""
        return self.space.canonical(architecture) not in self._taught[2]

    def _fused(self, normal: Array) -> Array:
        weights, intercept, _ = self._taught
        return np.asarray(_features(normal) @ weights + intercept)

    @cached_property
    def _taught(self) -> tuple[Array, float, frozenset[str]]:
        """Return weights, intercept, and the canonical forms whose labels taught them."""
        architectures, accuracies = self._labels.draw(self.space, self._seed, self._usable)
        weights, intercept = ridge(
            _features(self._normal(self._values(architectures))), NormalScores(accuracies)(accuracies)
        )
        return weights, intercept, frozenset(map(self.space.canonical, architectures))

    def describe(self) -> dict[str, Any]:
        """Return the fused scores, how they are fused, and the labels."""
        return {**self._description("fusion indicator"), **self._labels.describe()}


def _features(normal: Array) -> Array:
    return np.hstack([normal, normal**2])


def ridge(inputs: Array, targets: Array) -> tuple[Array, float]:
    """Return weights and intercept of a ridge regression, its penalty the best by leave-one-out.

    `inputs` has the shape (n, k), `targets` (n,). Left-out residuals follow from the leverages (Hastie et al., "The
    Elements of Statistical Learning", section 7.10).
    """
    centre, mean = inputs.mean(axis=0), float(targets.mean())
    u, s, vt = np.linalg.svd(inputs - centre, full_matrices=False)
    projected = u.T @ (targets - mean)

    def left_out_error(penalty: float) -> float:
        shrink = s**2 / (s**2 + penalty)
        residuals = targets - mean - u @ (shrink * projected)
        leverages = u**2 @ shrink + 1 / len(targets)
        return float(np.mean((residuals / (1 - leverages)) ** 2))

    penalty = min(_PENALTIES, key=left_out_error)
    weights = vt.T @ (s / (s**2 + penalty) * projected)
    return weights, mean - float(centre @ weights)
