"""A predictor beside its baselines on samples that none of them was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from predictors._base import Predictions, Predictor
from predictors._baselines import AdditiveTable, BestSource
from predictors._evaluation import Scores, evaluate, noise_ceiling
from predictors._samples import Samples
from predictors.macs_baseline import MacsBaseline

#: The third baseline of every evaluation, and what stands for it where it has no figures.
BEST_SOURCE = "best_source_scaling"
NO_SOURCE = "n/a: no other device's measurements serve as a source"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Scores on samples that were not trained on, the baselines trained on the same, and the noise ceiling."""

    n_train: int
    scores: Scores
    baselines: dict[str, Scores]
    noise_ceiling: Scores | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value; without sources `best_source_scaling` is a text that says so."""
        baselines: dict[str, Any] = {name: scores.to_json() for name, scores in self.baselines.items()}
        return {
            "n_train": self.n_train,
            "n_test": self.scores.n,
            "scores": self.scores.to_json(),
            "baselines": {**baselines, BEST_SOURCE: baselines.get(BEST_SOURCE, NO_SOURCE)},
            "noise_ceiling": None if self.noise_ceiling is None else self.noise_ceiling.to_json(),
        }


def judge_fitted(
    predictor: Predictor, train: Samples, test: Samples, sources: Sequence[Mapping[str, Any]] = ()
) -> tuple[Judgement, Predictions]:
    """Return the judgement of a predictor that was fitted on `train`, and its predictions of `test`.

    `sources` are JSON values of other devices, for the baseline that scales the best of them.
    """
    predictions = predictor.predict(test.architectures)
    baselines = {name: _predicted(item, train, test) for name, item in _baselines(predictor, sources).items()}
    return _judgement(train, test, predictions, baselines), predictions


def judge_rounds(
    predictor: Predictor, rounds: Sequence[tuple[Samples, Samples]], sources: Sequence[Mapping[str, Any]] = ()
) -> Judgement:
    """Return the judgement over the test sides of several rounds, each predicted after fitting its own train side.

    `sources` as in `judge_fitted`.
    """
    learners = {"": copy(predictor), **_baselines(predictor, sources)}
    found = {name: [_predicted(item, *sides) for sides in rounds] for name, item in learners.items()}
    together = {name: _all_predictions(parts) for name, parts in found.items()}
    tested = _all_samples([test for _, test in rounds])
    trained = min((train for train, _ in rounds), key=len)
    return _judgement(trained, tested, together.pop(""), together)


def _judgement(train: Samples, test: Samples, predictions: Predictions, baselines: dict[str, Predictions]) -> Judgement:
    """Return the scores; the limit of the violation rate is the median of the training times."""
    limit_s = float(np.median(train.latency_s))
    ceiling = noise_ceiling(test.repeats)
    return Judgement(
        len(train),
        evaluate(test.latency_s, predictions, limit_s),
        {name: evaluate(test.latency_s, found, limit_s) for name, found in baselines.items()},
        ceiling if ceiling.n else None,
    )


def _baselines(predictor: Predictor, sources: Sequence[Mapping[str, Any]]) -> dict[str, Predictor]:
    """Return the baselines of a predictor, unfitted."""
    shared: dict[str, Any] = {"seed": predictor.seed, "coverage": predictor.coverage}
    found: dict[str, Predictor] = {
        "macs_baseline": MacsBaseline(predictor.space, **shared),
        "additive": AdditiveTable(predictor.space, **shared),
    }
    if sources:
        found[BEST_SOURCE] = BestSource(predictor.space, sources=sources, **shared)
    return found


def _predicted(learner: Predictor, train: Samples, test: Samples) -> Predictions:
    """Return what a learner predicts of one side after a fit to the other; it keeps what it knows of sources."""
    return learner.fit(train.architectures, train.latency_s).predict(test.architectures)


def _all_samples(parts: Sequence[Samples]) -> Samples:
    return Samples(
        tuple(item for part in parts for item in part.architectures),
        np.concatenate([part.latency_s for part in parts]),
        tuple(item for part in parts for item in part.medians),
    )


def _all_predictions(parts: Sequence[Predictions]) -> Predictions:
    return Predictions(
        np.concatenate([part.mean_s for part in parts]),
        np.concatenate([part.lower_s for part in parts]),
        np.concatenate([part.upper_s for part in parts]),
        tuple(item for part in parts for item in part.provenance),
    )
