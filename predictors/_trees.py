"""Boosted trees on what a linear model leaves over, and the cross-validation that decides how much of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.ensemble import GradientBoostingRegressor

from predictors._linear import LinearModel, fit_ridge

Array = NDArray[np.float64]
Folds = NDArray[np.intp]


@dataclass(frozen=True)
class LinearChoice:
    """One way to fit the linear part: the view it reads, its penalty, whether its loss is robust."""

    view: str
    alpha: float
    robust: bool


@dataclass(frozen=True, eq=False)
class BoostedModel:
    """Linear model x exp(trees); `columns` are those the linear model reads, the trees read all."""

    linear: LinearModel
    columns: slice
    trees: GradientBoostingRegressor | None

    def __call__(self, inputs: Array) -> Array:
        """Return seconds, shape (n,)."""
        base = self.linear(inputs[:, self.columns])
        return base if self.trees is None else base * np.exp(self.trees.predict(inputs))


def fit_boosted(inputs: Array, y: Array, columns: slice, choice: LinearChoice, rounds: int, seed: int) -> BoostedModel:
    """Return a linear model of y with `rounds` trees on its log-residuals."""
    linear = fit_ridge(inputs[:, columns], y, choice.alpha, choice.robust)
    if rounds == 0:
        return BoostedModel(linear, columns, None)
    trees = GradientBoostingRegressor(
        n_estimators=rounds,
        learning_rate=0.1,
        max_depth=3,
        min_samples_leaf=3,
        subsample=0.7,
        max_features=0.5,
        random_state=seed,
    )
    # The arguments are ours and checked: scikit-learn's own checks would take a third of the time.
    with config_context(skip_parameter_validation=True, assume_finite=True):
        trees.fit(inputs, np.log(y / linear(inputs[:, columns])))
    return BoostedModel(linear, columns, trees)


def choose_linear(
    inputs: Array, y: Array, folds: Folds, columns: Mapping[str, slice], choices: Sequence[LinearChoice]
) -> LinearChoice:
    """Return the choice with the smallest mean |log error| on folds held out in turn; the first of equals."""
    errors = [held_out_error(inputs[:, columns[item.view]], y, folds, item) for item in choices]
    return choices[int(np.argmin(errors))]


def held_out_error(inputs: Array, y: Array, folds: Folds, choice: LinearChoice) -> float:
    """Return the mean |log error| of a linear model on folds held out in turn."""
    logs = np.empty(len(y))
    for held in _held(folds):
        model = fit_ridge(inputs[~held], y[~held], choice.alpha, choice.robust)
        logs[held] = np.log(model(inputs[held]) / y[held])
    return float(np.abs(logs).mean())


def choose_rounds(
    inputs: Array, y: Array, folds: Folds, columns: slice, choice: LinearChoice, stages: Sequence[int], seed: int
) -> int:
    """Return the number of trees (0 or one of the ascending `stages`) with the smallest mean |log error| held out."""
    errors = np.zeros(len(stages) + 1)
    for held in _held(folds):
        model = fit_boosted(inputs[~held], y[~held], columns, choice, stages[-1], seed)
        missing = np.log(y[held] / model.linear(inputs[held][:, columns]))
        errors[0] += np.abs(missing).sum()
        if model.trees is None:
            continue
        for n, guess in enumerate(model.trees.staged_predict(inputs[held]), start=1):
            if n in stages:
                errors[1 + stages.index(n)] += np.abs(missing - guess).sum()
    return int((0, *stages)[int(np.argmin(errors))])


def _held(folds: Folds) -> Iterator[NDArray[np.bool_]]:
    return (folds == fold for fold in range(folds.max() + 1))
