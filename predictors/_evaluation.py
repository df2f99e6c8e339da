"""The one evaluation: how good predicted seconds are, and how good they could be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, spearmanr

from hilnas.errors import UsageError
from hilnas.records import Architecture
from predictors._base import Predictions


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures over n architectures; None where they are not defined.

    Errors are relative to the truth: `mape` their mean size, `within_5` and `within_10` the share of at most 5 and
    10 %, `bias` their mean with sign (positive: predicted too slow), `worst` the largest. `spearman` and `kendall`
    (tau-b) are rank correlations. `coverage` is the share of truths inside their intervals, `interval_width` the
    mean of (upper - lower) / mean. `violation_mean` and `violation_upper`: of the architectures whose mean (upper
    bound) keeps the limit `limit_s`, the share that does not keep it.
    """

    n: int
    mape: float | None
    within_5: float | None
    within_10: float | None
    spearman: float | None
    kendall: float | None
    bias: float | None
    worst: float | None
    coverage: float | None = None
    interval_width: float | None = None
    violation_mean: float | None = None
    violation_upper: float | None = None
    limit_s: float | None = None

    def to_json(self) -> dict[str, float | int | None]:
        """Return the fields as a JSON value."""
        return asdict(self)


#: Names of the figures a gate may ask for.
FIGURES = tuple(field.name for field in fields(Scores))


def evaluate(y_true: ArrayLike, predictions: Predictions, limit_s: float | None = None) -> Scores:
    """Return the scores of predictions against measured seconds, shape (n,), n >= 0.

    Networks whose output ignores its input (provenance `bound`) have no relative error and are left out.
    """
    truth = np.asarray(y_true, dtype=float)
    kept = np.array([item != "bound" for item in predictions.provenance], dtype=bool)
    truth, mean = truth[kept], predictions.mean_s[kept]
    lower, upper = predictions.lower_s[kept], predictions.upper_s[kept]
    figures = _point_figures(truth, mean)
    if len(truth) == 0:
        return Scores(**figures, limit_s=limit_s)
    return Scores(
        **figures,
        coverage=float(np.mean((lower <= truth) & (truth <= upper))),
        interval_width=float(np.mean((upper - lower) / mean)),
        violation_mean=None if limit_s is None else _violations(truth, mean, limit_s),
        violation_upper=None if limit_s is None else _violations(truth, upper, limit_s),
        limit_s=limit_s,
    )


def acceptance(y_true: ArrayLike, upper_s: ArrayLike, limit_s: float) -> float | None:
    """Return the share of those that keep a limit whose upper bound keeps it as well; None where none keeps it."""
    truth, upper = np.asarray(y_true, dtype=float), np.asarray(upper_s, dtype=float)
    kept = truth <= limit_s
    return float(np.mean(upper[kept] <= limit_s)) if kept.any() else None


def noise_ceiling(medians: Mapping[str, Sequence[float]]) -> Scores:
    """Return what two halves of the same campaigns agree to: no predictor can be expected to do much better.

    `medians` maps a workload to the medians of its invocations in the order they ran. The median of every second
    invocation is taken as the prediction, that of the others as the truth; workloads with fewer than two are left
    out. Each half has half as many invocations as a measurement, so the figures understate a little what whole
    measurements agree to; both halves share slow drift and the day's conditions, so they overstate what campaigns
    of different days agree to.
    """
    pairs = [(median(items[0::2]), median(items[1::2])) for items in medians.values() if len(items) >= 2]
    predicted, truth = np.array(pairs, dtype=float).reshape(-1, 2).T
    return Scores(**_point_figures(truth, predicted))


def split(
    architectures: Sequence[Architecture], forms: Sequence[str], n_train: int | None, n_test: int, seed: int
) -> tuple[list[int], list[int]]:
    """Return indices to train on and to test on, in random order: no canonical form is on both sides.

    The test side gets one architecture a form; the train side n_train of the others, which may share forms (None:
    all of them). Raises UsageError when there are too few.
    """
    order = np.random.default_rng(seed).permutation(len(architectures))
    test: dict[str, int] = {}
    for i in order:
        if len(test) < n_test and forms[i] not in test:
            test[forms[i]] = int(i)
    train = [int(i) for i in order if forms[i] not in test][:n_train]
    if len(test) < n_test or len(train) < (n_train or 2):
        raise UsageError(
            f"{n_train or 2} architectures to train on and {n_test} others to test on are more than there are",
            f"There are {len(architectures)} with {len(set(forms))} distinct functions.",
            "Measure more, or lower --train and --test.",
        )
    return train, list(test.values())


def _point_figures(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> dict[str, Any]:
    n = len(truth)
    if n == 0:
        return dict.fromkeys(_POINT, None) | {"n": 0}
    errors = predicted / truth - 1
    size = np.abs(errors)
    ranked = n > 1 and np.ptp(truth) > 0 and np.ptp(predicted) > 0
    return {
        "n": n,
        "mape": float(size.mean()),
        "within_5": float(np.mean(size <= 0.05)),
        "within_10": float(np.mean(size <= 0.10)),
        "spearman": float(spearmanr(truth, predicted).statistic) if ranked else None,
        "kendall": float(kendalltau(truth, predicted).statistic) if ranked else None,
        "bias": float(errors.mean()),
        "worst": float(size.max()),
    }


_POINT = ("n", "mape", "within_5", "within_10", "spearman", "kendall", "bias", "worst")


def _violations(truth: NDArray[np.float64], guess: NDArray[np.float64], limit_s: float) -> float | None:
    accepted = guess <= limit_s
    return float(np.mean(truth[accepted] > limit_s)) if accepted.any() else None
