"""Small linear models of a time, fitted so that relative errors are small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Residuals beyond this many robust standard deviations weigh less (Huber 1964: 95 % efficient on normal errors).
_HUBER = 1.345
_ROUNDS = 8
#: A linear model may predict nothing below this share of the fastest time it was fitted on.
FLOOR = 1 / 3


@dataclass(frozen=True, eq=False)
class LinearModel:
    """`intercept + x @ coefficients`, never below `floor` (all in the unit of the fitted times)."""

    intercept: float
    coefficients: Array
    floor: float

    def __call__(self, features: Array) -> Array:
        """Return the times of rows, shape (n,)."""
        return np.maximum(self.intercept + features @ self.coefficients, self.floor)


@dataclass(frozen=True, eq=False)
class ColumnsLine:
    """A linear model that reads some columns of its rows."""

    line: LinearModel
    columns: list[int]

    def __call__(self, rows: Array) -> Array:
        """Return the times of rows, shape (n,)."""
        return self.line(rows[:, self.columns])


def fit_ridge(features: Array, y: Array, alpha: float, robust: bool = False, base: Array | None = None) -> LinearModel:
    """Return the ridge regression of times y on features, shapes (n, d) and (n,), with squared relative errors.

    Features are standardised, constant and repeated ones left out. `robust` replaces the square by Huber's loss.
    With `base` (n,), times that another model has predicted, the regression is of what is to be added to them, and
    has no floor.
    """
    kept = _informative(features)
    center, scale = features[:, kept].mean(axis=0), features[:, kept].std(axis=0)
    design = np.column_stack([np.ones(len(y)), (features[:, kept] - center) / scale]) / y[:, None]
    penalty = np.full(design.shape[1], alpha * len(y))
    penalty[0] = 0.0
    target = np.ones(len(y)) if base is None else 1 - base / y
    solved = _reweighted(design, target, penalty / y.mean() ** 2, robust)
    coefficients = np.zeros(features.shape[1])
    coefficients[kept] = solved[1:] / scale
    floor = FLOOR * float(y.min()) if base is None else -np.inf
    return LinearModel(float(solved[0] - center @ coefficients[kept]), coefficients, floor)


def fit_line(x: Array, y: Array, intercept: bool = True) -> LinearModel:
    """Return the robust line y = a + b x with b >= 0 and Huber's loss on relative errors; x has shape (n, 1).

    Points that all lie at one x, or fall with it, give b = 0 and their robust centre. Without an intercept a is 0; x
    must be positive then.
    """
    if not intercept:
        slope = _reweighted(x / y[:, None], np.ones(len(y)), np.zeros(1), robust=True)
        return LinearModel(0.0, slope, FLOOR * float(y.min()))
    line = fit_ridge(x, y, _ALMOST_NONE, robust=True)
    if line.coefficients[0] >= 0:
        return line
    return fit_ridge(np.zeros_like(x), y, _ALMOST_NONE, robust=True)


#: Keeps a system of two points solvable without moving the line.
_ALMOST_NONE = 1e-12


def _informative(features: Array) -> NDArray[np.intp]:
    """Return the columns that vary and are no multiple (plus constant) of an earlier one."""
    spread = features.std(axis=0)
    varying = np.flatnonzero(spread > 1e-9 * np.maximum(np.abs(features).max(axis=0, initial=0.0), 1e-300))
    if varying.size == 0:
        return varying
    unit = (features[:, varying] - features[:, varying].mean(axis=0)) / spread[varying]
    correlation = np.abs(unit.T @ unit) / len(features)
    repeated = np.triu(correlation > 1 - 1e-9, k=1).any(axis=0)
    kept: NDArray[np.intp] = varying[~repeated]
    return kept


def _reweighted(design: Array, target: Array, penalty: Array, robust: bool) -> Array:
    """Return the coefficients for which design @ c is near the target, by iteratively reweighted least squares."""
    weights: Any = np.ones(len(design))
    solved: Any = np.zeros(design.shape[1])
    for _ in range(_ROUNDS if robust else 1):
        weighted = design * weights[:, None]
        solved = np.linalg.solve(weighted.T @ design + np.diag(penalty), weighted.T @ target)
        off = np.abs(design @ solved - target)
        spread = max(float(np.median(off)) / 0.6745, 1e-6)
        weights = np.minimum(1.0, _HUBER * spread / np.maximum(off, 1e-12))
    coefficients: Array = solved
    return coefficients
