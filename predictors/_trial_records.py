"""What an evaluation is asked for, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from predictors.transfer import n_drawn


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """What is evaluated: a predictor with a budget of the target's measurements, and what of the sources it may use.

    `calibration` of the budget are drawn at random for the intervals (None: 20 of 40 or more, none of fewer).
    """

    predictor: str
    target: str
    sources: tuple[str, ...] = ()
    source_samples: int = 900
    budget: int = 10
    calibration: int | None = None
    seeds: int = 20
    first_seed: int = 0

    @property
    def drawn(self) -> int:
        """Return how many of the budget are drawn at random beside those that the predictor chooses."""
        if self.calibration is not None:
            return self.calibration
        return n_drawn(self.budget)


@dataclass(frozen=True, slots=True)
class Trial:
    """The figures of one seed; None where they are not defined; `violation_rate` is 0 where no network is accepted."""

    spearman: float | None
    kendall: float | None
    within_5: float | None
    within_10: float | None
    mape: float | None
    coverage_90: float | None
    interval_width: float | None
    violation_rate: float
    acceptance_rate: float | None
    best_source_spearman: float | None
    best_source_within_10: float | None


@dataclass(frozen=True, slots=True)
class Trials:
    """All seeds of a request; `parameters` are those of the first."""

    request: TrialRequest
    n_evaluated: int
    trials: tuple[Trial, ...]
    best_sources: tuple[str, ...]
    parameters: Mapping[str, Any]

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Return mean and standard deviation over the seeds of every figure that is defined in all."""
        found: dict[str, dict[str, float | None]] = {}
        for name in Trial.__slots__:
            values = [getattr(item, name) for item in self.trials]
            if any(value is None for value in values):
                found[name] = {"mean": None, "sd": None}
                continue
            sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            found[name] = {"mean": float(np.mean(values)), "sd": sd}
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the figures and what they are of as a JSON value."""
        request = asdict(self.request)
        return {
            **request,
            "sources": list(self.request.sources),
            "calibration": self.request.drawn,
            "n_evaluated": self.n_evaluated,
            "best_sources": list(self.best_sources),
            "parameters": dict(self.parameters),
            **self.figures(),
        }
