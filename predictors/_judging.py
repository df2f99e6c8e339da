"""A predictor beside its baselines on samples that none of them was trained on."""

from __future__ import annotations

from collections.abc import Sequence
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
_BASELINES: dict[str, type[Predictor]] = {"macs_baseline": MacsBaseline, "additive": AdditiveTable}


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


def unfitted(predictor: Predictor) -> Predictor:
    """Return a predictor of the same parameters that has learned nothing."""
    return type(predictor)(**predictor.get_params(deep=False))


def judge_fitted(predictor: Predictor, train: Samples, test: Samples) -> tuple[Judgement, Predictions]:
    """Return the judgement of a predictor that was fitted on `train`, and its predictions of `test`."""
    predictions = predictor.predict(test.architectures)
    baselines = {name: _baseline(name, predictor, train, test) for name in _BASELINES}
    return _judgement(train, test, predictions, baselines), predictions


def judge_rounds(predictor: Predictor, rounds: Sequence[tuple[Samples, Samples]]) -> Judgement:
    """Return the judgement over the test sides of several rounds, each predicted after fitting its own train side."""
    guesses: list[Predictions] = []
    baselines: dict[str, list[Predictions]] = {name: [] for name in _BASELINES}
    for train, test in rounds:
        learner = unfitted(predictor).fit(train.architectures, train.latency_s)
        guesses.append(learner.predict(test.architectures))
        for name, found in baselines.items():
            found.append(_baseline(name, predictor, train, test))
    tested = _all_samples([test for _, test in rounds])
    trained = min((train for train, _ in rounds), key=len)
    together = {name: _all_predictions(found) for name, found in baselines.items()}
    return _judgement(trained, tested, _all_predictions(guesses), together)


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


def _baseline(name: str, predictor: Predictor, train: Samples, test: Samples) -> Predictions:
    baseline: Predictor = _BASELINES[name](predictor.space, seed=predictor.seed, coverage=predictor.coverage)
    return baseline.fit(train.architectures, train.latency_s).predict(test.architectures)


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
