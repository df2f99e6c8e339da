"""Intervals that are calibrated on the device's own networks: CV+ on log-residuals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ROWS = 1024


def assign_folds(groups: Sequence[str], n_folds: int, seed: int) -> NDArray[np.intp]:
    """Return the fold of every sample, shape (n,): samples of one group share a fold, folds differ by one group."""
    distinct = sorted(set(groups))
    order = np.random.default_rng(seed).permutation(len(distinct))
    fold_of = {distinct[place]: position % n_folds for position, place in enumerate(order)}
    return np.array([fold_of[group] for group in groups], dtype=np.intp)


def cv_plus(fold_logs: Array, folds: NDArray[np.intp], residuals: Array, coverage: float) -> tuple[Array, Array]:
    """Return lower and upper bounds of log-times, shape (n,) each.

    `fold_logs` (n, k): what the model trained without fold j predicts; `folds` and `residuals` (m,): the fold of each
    training sample and |log error| of the model that has not seen it. CV+ of Barber, Candès, Ramdas and Tibshirani
    (Annals of Statistics 2021). With too few samples for the coverage the widest residual decides.
    """
    m = len(residuals)
    rank = min(max(math.ceil(coverage * (m + 1)), 1), m) - 1
    lower, upper = np.empty(len(fold_logs)), np.empty(len(fold_logs))
    for start in range(0, len(fold_logs), _ROWS):
        rows = slice(start, start + _ROWS)
        centers = fold_logs[rows][:, folds]
        upper[rows] = np.partition(centers + residuals, rank, axis=1)[:, rank]
        lower[rows] = -np.partition(residuals - centers, rank, axis=1)[:, rank]
    return lower, upper


def cv_plus_below(fold_logs: Array, folds: NDArray[np.intp], residuals: Array, log_limit: float) -> tuple[Array, Array]:
    """Return up to which coverage the upper bound of log-times keeps a limit, and the lower one exceeds it.

    Shape (n,) each, the other arguments as those of `cv_plus`: the share of residuals, laid to that side of what the
    models predict, that keep (exceed) the limit. m samples give m / (m + 1) at most.
    """
    below, above = np.empty(len(fold_logs)), np.empty(len(fold_logs))
    for start in range(0, len(fold_logs), _ROWS):
        rows = slice(start, start + _ROWS)
        centers = fold_logs[rows][:, folds]
        below[rows] = (centers + residuals <= log_limit).sum(axis=1)
        above[rows] = (centers - residuals > log_limit).sum(axis=1)
    return below / (len(residuals) + 1), above / (len(residuals) + 1)
