"""`hilnas compare`: predictions against measurements that the predictor has not seen."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from devices._config import find_device
from hilnas.errors import UsageError
from hilnas.output import SCHEMA_VERSION
from predictors._base import Predictions
from predictors._judging import Judgement, judge_fitted
from predictors._kernels import KERNEL_FEATURES
from predictors._registry import FittedPredictor, load_fitted, saved_names
from predictors._samples import Samples, check_device, is_table, measure_samples, recorded_samples, table_samples
from predictors._views import views_of
from profiler._campaign import Progress, silent
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace
from search_spaces._features import FEATURES


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """What is asked for: how many architectures, of which predictor (None: the best), measured now or `recorded`."""

    device: str
    predictor: str | None = None
    n: int = 30
    seed: int = 0
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One architecture: predicted and measured seconds, error relative to the measured, what is unusual about it."""

    architecture: str
    predicted_s: float
    lower_s: float
    upper_s: float
    measured_s: float
    error: float
    inside: bool
    unseen: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Predictions against measurements; `rows` with the largest error first."""

    comparison_id: str
    device: str
    space: str
    predictor: str
    source: str
    run_id: str | None
    seed: int
    asked: int
    judgement: Judgement
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return {
            "comparison_id": self.comparison_id,
            "device": self.device,
            "space": self.space,
            "predictor": self.predictor,
            "source": self.source,
            "run_id": self.run_id,
            "n": self.judgement.scores.n,
            "not_measured": self.asked - len(self.rows),
            **self.judgement.to_json(),
            "rows": [row.to_json() for row in self.rows],
        }


def compare_device(
    workspace: Workspace,
    space: SearchSpace,
    request: CompareRequest,
    configs: Path | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Compare a saved predictor with measurements it has not seen, store the comparison and return it.

    New architectures are measured in a campaign of their own, unless recorded ones are asked for or the device is a
    table. Raises UsageError when nothing is recorded that was not trained on, Inconclusive when nothing could be
    measured well.
    """
    if not saved_names(workspace, request.device, space):
        check_device(workspace, request.device, configs)
    fitted = load_fitted(workspace, request.device, space, request.predictor)
    trained = {space.canonical(item) for item in fitted.architectures}
    run_id, source = None, "recorded"
    if is_table(request.device):
        source = "table"
        test = table_samples(workspace, request.device, space, request.n, request.seed, trained)
    elif request.recorded:
        test = _recorded(workspace, space, request, trained)
    else:
        source = "measured"
        new = space.sample_distinct(request.n, request.seed, exclude=frozenset(trained))
        config = find_device(request.device, configs)
        run_id, test = measure_samples(workspace, config, space, new, request.seed, progress)
    train = Samples(fitted.architectures, fitted.latency_s, ((),) * len(fitted.architectures))
    judgement, predictions = judge_fitted(fitted.predictor, train, test)
    now = datetime.now(UTC)
    comparison = Comparison(
        f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        request.device,
        space.name,
        fitted.name,
        source,
        run_id,
        request.seed,
        request.n if source != "recorded" else len(test),
        judgement,
        _rows(space, fitted, test, predictions),
    )
    _store(workspace, comparison, now)
    return comparison


def _recorded(workspace: Workspace, space: SearchSpace, request: CompareRequest, trained: set[str]) -> Samples:
    samples = recorded_samples(workspace, request.device, space)
    unseen = [i for i, item in enumerate(samples.architectures) if space.canonical(item) not in trained]
    if not unseen:
        raise UsageError(
            f"everything recorded for {request.device} was trained on",
            f"{len(samples)} architectures are recorded.",
            f"Measure new ones: hilnas compare {request.device} --n {request.n}",
        )
    chosen = np.random.default_rng(request.seed).permutation(len(unseen))[: request.n]
    return samples.take([unseen[i] for i in sorted(chosen)])


def _rows(space: SearchSpace, fitted: FittedPredictor, test: Samples, predictions: Predictions) -> tuple[Row, ...]:
    unseen = _unseen(space, fitted, test)
    rows = [
        Row(
            architecture.text,
            guess.mean_s,
            guess.lower_s,
            guess.upper_s,
            float(measured_s),
            guess.mean_s / float(measured_s) - 1,
            guess.lower_s <= float(measured_s) <= guess.upper_s,
            names,
        )
        for architecture, measured_s, guess, names in zip(
            test.architectures, test.latency_s, predictions, unseen, strict=True
        )
    ]
    return tuple(sorted(rows, key=lambda row: -abs(row.error)))


def _unseen(space: SearchSpace, fitted: FittedPredictor, test: Samples) -> list[tuple[str, ...]]:
    """Return for each test architecture the features that lie outside everything the predictor was trained on."""
    views = views_of(space)
    names = (*FEATURES, *KERNEL_FEATURES)
    train = views.matrix("runtime", fitted.architectures)
    lowest, highest = train.min(axis=0), train.max(axis=0)
    rows = views.matrix("runtime", test.architectures)
    outside = (rows < lowest) | (rows > highest)
    return [tuple(names[i] for i in np.flatnonzero(row)) for row in outside]


def _store(workspace: Workspace, comparison: Comparison, now: datetime) -> None:
    """Write the comparison into the workspace, where a report finds it by its id."""
    folder = workspace.path / "comparisons"
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "schema_version": SCHEMA_VERSION,
        "created_at": now.isoformat(timespec="seconds"),
        "seed": comparison.seed,
        **comparison.to_json(),
    }
    path = folder / f"{comparison.comparison_id}.json"
    path.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
