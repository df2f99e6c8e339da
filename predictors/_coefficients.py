"""What a block costs inside networks, as a multiple of its entry: 1 where times add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.linear_model import BayesianRidge

from predictors._entries import BlockEntry

Array = NDArray[np.float64]

#: All coefficients together exclude 1 by chance with this probability at most.
_CHANCE = 0.05
#: A network whose sum is off by more robust standard deviations is no network to learn from.
_WILD = 8.0


@dataclass(frozen=True, slots=True)
class BlockCoefficient:
    """Blocks that always occur together, their coefficient with its interval, and whether that excludes 1.

    `share`: the time they have in a network by their entries, over its latency, on average; `contribution`: by how
    much the sum is off because of them, over the latency (mean size).
    """

    blocks: tuple[str, ...]
    coefficient: float
    lower: float
    upper: float
    share: float
    contribution: float
    breaks: bool

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return asdict(self)


def block_coefficients(
    keys: Sequence[str], counts: Array, entries: Sequence[BlockEntry], y: Array
) -> tuple[list[BlockCoefficient], tuple[str, ...]]:
    """Return the coefficients, those first that contribute most to the error, and the keys of constant blocks.

    `counts` (n, blocks): how often networks of y seconds (n,) pay for each block. Blocks whose counts are
    proportional cannot be told apart and share a coefficient; those that every network has equally often are part of
    its intercept. The regression is a Bayesian ridge (MacKay 1992) of relative errors, towards 1; the intervals hold
    for all coefficients together (Bonferroni) and contain what is unknown of the entries.
    """
    groups, constant = _groups(counts)
    fixed = tuple(keys[i] for i in constant if counts[:, i].any())
    if not groups:
        return [], fixed
    times = np.array([entry.latency_s for entry in entries])
    shares = np.column_stack([counts[:, group] @ times[group] for group in groups]) / y[:, None]
    missing = 1 - shares.sum(axis=1) - counts[:, constant] @ times[constant] / y
    model, left = _regressed(shares, missing, 1 / y)
    kept = np.abs(left) <= _WILD * np.median(np.abs(left)) / 0.6745 + 1e-9
    model, _ = _regressed(shares[kept], missing[kept], 1 / y[kept])
    unknown = np.array([_unknown(counts[:, group].mean(axis=0), [entries[i] for i in group]) for group in groups])
    coefficients = 1 + model.coef_
    errors = np.sqrt(np.diag(model.sigma_) + (coefficients * unknown) ** 2)
    used = len(groups) - model.lambda_ * np.trace(model.sigma_)
    freedom = max(float(kept.sum() - 1 - used), 3.0)
    halves = student.ppf(1 - _CHANCE / 2 / len(groups), freedom) * errors
    found = [
        BlockCoefficient(
            tuple(keys[i] for i in group),
            float(coefficient),
            float(coefficient - half),
            float(coefficient + half),
            float(share.mean()),
            float(abs(coefficient - 1) * share.mean()),
            bool(abs(coefficient - 1) > half),
        )
        for group, coefficient, half, share in zip(groups, coefficients, halves, shares.T, strict=True)
    ]
    return sorted(found, key=lambda item: (not item.breaks, -item.contribution)), fixed


def _regressed(shares: Array, missing: Array, intercept: Array) -> tuple[BayesianRidge, Array]:
    """Return the regression of what is missing (n,) on shares (n, k) and what it leaves over, both less an intercept.

    What lies along the intercept (n,) is taken out first, so that it may have any coefficient.
    """
    unit = intercept / np.linalg.norm(intercept)
    shares = shares - np.outer(unit, unit @ shares)
    missing = missing - unit * (unit @ missing)
    model = BayesianRidge(fit_intercept=False).fit(shares, missing)
    return model, missing - shares @ model.coef_


def _unknown(uses: Array, entries: Sequence[BlockEntry]) -> float:
    """Return the relative standard error of a sum of entries that err independently."""
    errors = np.array([entry.standard_error_s for entry in entries])
    times = np.array([entry.latency_s for entry in entries])
    return float(np.linalg.norm(uses * errors) / (uses @ times))


def _groups(counts: Array) -> tuple[list[list[int]], list[int]]:
    """Return the columns that are proportional to each other, and those that do not vary."""
    varying: dict[bytes, list[int]] = {}
    constant = []
    for place, column in enumerate(counts.T):
        if np.ptp(column) < 1e-9:
            constant.append(place)
            continue
        varying.setdefault(np.round(column / column.max(), 9).tobytes(), []).append(place)
    return list(varying.values()), constant
