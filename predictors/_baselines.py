"""A baseline that is no plug-in: the additive table, fitted instead of measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hilnas.records import Architecture
from predictors._base import Array, Model, Predictor
from predictors._linear import fit_ridge
from predictors._views import Views


class AdditiveTable(Predictor):
    """Every decision adds a time of its own: ridge regression on the one-hot encoding, relative errors squared."""

    minimum_samples = 50

    def _inputs(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        return views.matrix("encoding", architectures)

    def _train(self, inputs: Array, y: Array, choices: Mapping[str, Any]) -> Model:
        return fit_ridge(inputs, y, 1e-4)
