"""A baseline that is no plug-in: the additive table, fitted instead of measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.records import Architecture
from predictors._base import Array, Model, Predictor
from predictors._linear import fit_ridge
from predictors._trees import LinearChoice, choose_linear
from predictors._views import Views

_ALPHAS = (1e-4, 1e-3, 1e-2, 1e-1)


class AdditiveTable(Predictor):
    """Every decision adds a time of its own: ridge regression on the one-hot encoding, penalty by cross-validation."""

    minimum_samples = 50

    def _inputs(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        return views.matrix("encoding", architectures)

    def _choose(self, inputs: Array, y: Array, folds: NDArray[np.intp]) -> dict[str, Any]:
        candidates = [LinearChoice("encoding", alpha, robust=False) for alpha in _ALPHAS]
        return {"alpha": choose_linear(inputs, y, folds, {"encoding": slice(None)}, candidates).alpha}

    def _train(self, inputs: Array, y: Array, choices: Mapping[str, Any]) -> Model:
        return fit_ridge(inputs, y, choices["alpha"])
