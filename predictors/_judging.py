"""A predictor beside its baselines on the same samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from predictors._base import Predictions, Predictor
from predictors._baselines import AdditiveTable
from predictors._evaluation import Scores, evaluate, noise_ceiling
from predictors._samples import Samples
from predictors.macs_baseline import MacsBaseline

#: Why the third baseline of every evaluation has no figures.
NO_SOURCE = "n/a: no other device's measurements serve as a source"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Scores on samples that were not trained on, the baselines trained on the same, and the noise ceiling."""

    n_train: int
    scores: Scores
    baselines: dict[str, Scores]
    noise_ceiling: Scores | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value; `best_source_scaling` is a text that says why there is none."""
        baselines: dict[str, Any] = {name: scores.to_json() for name, scores in self.baselines.items()}
        return {
            "n_train": self.n_train,
            "n_test": self.scores.n,
            "scores": self.scores.to_json(),
            "baselines": {**baselines, "best_source_scaling": NO_SOURCE},
            "noise_ceiling": None if self.noise_ceiling is None else self.noise_ceiling.to_json(),
        }


def judge(predictor: Predictor, train: Samples, test: Samples) -> tuple[Judgement, Predictions]:
    """Return the judgement of a fitted predictor on test samples, and its predictions.

    The limit of the violation rate is the median of the training times.
    """
    limit_s = float(np.median(train.latency_s))
    predictions = predictor.predict(test.architectures)
    baselines = {}
    for name, kind in (("macs_baseline", MacsBaseline), ("additive", AdditiveTable)):
        baseline: Predictor = kind(predictor.space, seed=predictor.seed, coverage=predictor.coverage)
        baseline.fit(train.architectures, train.latency_s)
        baselines[name] = evaluate(test.latency_s, baseline.predict(test.architectures), limit_s)
    ceiling = noise_ceiling(test.repeats)
    scores = evaluate(test.latency_s, predictions, limit_s)
    return Judgement(len(train), scores, baselines, ceiling if ceiling.n else None), predictions
