"""Fusion Indicator: a weighted sum of scores and what it misses, learned from a few labels.

Source: Tran, Ali and Bae, "A Feature Fusion Based Indicator for Training-Free Neural Architecture Search", IEEE Access
9, 2021: weights that minimise the squared error of the predicted accuracy. They publish none. Here a Gaussian process
(Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, section 2.2) predicts the normal score of
the accuracy from the normal scores and the decisions. Its kernel is a linear one, which makes it a weighted sum, plus a
Matern one for what no sum can say: the highest value of an indicator is often not the best.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers.evaluators._base import Evaluator
from searchers.evaluators._fusion import Fusion
from searchers.evaluators._labels import Labels
from searchers.evaluators._normal_scores import Array, NormalScores

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

_DIGITS = 9


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
        return self.space.canonical(architecture) not in self._taught[1]

    def _fused(self, normal: Array, architectures: Sequence[Architecture]) -> Array:
        # Rounded: the last digits depend on how many are predicted at once.
        predicted = self._taught[0].predict(self._inputs(normal, architectures))
        return np.asarray(np.round(predicted, _DIGITS))

    def _inputs(self, normal: Array, architectures: Sequence[Architecture]) -> Array:
        decisions = np.array([self.space.encode(item) for item in architectures], np.float64)
        return np.hstack([decisions, normal])

    @cached_property
    def _taught(self) -> tuple[GaussianProcessRegressor, frozenset[str]]:
        """Return the process, and the canonical forms whose labels taught it."""
        known, accuracies = self._labels.draw(self.space, self._seed, self._usable)
        inputs = self._inputs(self._normal(self._values(known)), known)
        process = fitted(inputs, NormalScores(accuracies)(accuracies))
        return process, frozenset(map(self.space.canonical, known))

    def describe(self) -> dict[str, Any]:
        """Return the fused scores, how they are fused, and the labels."""
        return {**self._description("fusion indicator"), **self._labels.describe()}


def fitted(inputs: Array, targets: Array) -> GaussianProcessRegressor:
    """Return a Gaussian process of inputs (n, k) and targets (n,), its kernel of the highest marginal likelihood."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

    linear = ConstantKernel(0.1) * DotProduct(1.0, sigma_0_bounds="fixed")
    kernel = linear + ConstantKernel(1.0) * Matern(3.0, nu=2.5) + WhiteKernel(0.1)
    with warnings.catch_warnings():
        # Where one part of the kernel explains nothing its parameters run to their bounds, which is as it should be.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianProcessRegressor(kernel, normalize_y=True).fit(inputs, targets)
