"""`hilnas compare`: predictions against measurements that the predictor has not seen."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from devices._config import find_device
from hilnas.errors import UsageError
from hilnas.output import SCHEMA_VERSION
from predictors._base import Predictions, Predictor
from predictors._judging import Judgement, judge_fitted
from predictors._reasons import (
    fitting_runs,
    half_widths,
    rare_blocks,
    reasons,
    row_differences,
    tested_runs,
    unseen_features,
)
from predictors._registry import FittedPredictor, load_fitted, saved_names
from predictors._samples import Samples, check_device, is_table, measure_samples, recorded_samples, table_samples
from predictors._sources import find_sources
from predictors._suggesting import command, suggest
from profiler._campaign import Progress, silent
from profiler._conditions import Conditions, differences
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace

_BANDS = (5, 10, 20)
_SUGGESTED = 5


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
    """One architecture: predicted and measured seconds, error relative to the measured, what may explain it.

    `measured_half_width` is relative, None where it is not known; `unseen` names features beyond anything trained on.
    """

    architecture: str
    predicted_s: float
    lower_s: float
    upper_s: float
    measured_s: float
    error: float
    inside: bool
    measured_half_width: float | None
    unseen: tuple[str, ...]
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Bands:
    """Shares of predictions within 5, 10 and 20 %, and the mean error with its 95 % interval (None for fewer than 2).

    A positive bias is a prediction that is too slow.
    """

    within: dict[str, float]
    bias: float
    bias_interval: tuple[float, float] | None

    @classmethod
    def of(cls, errors: Sequence[float]) -> Bands:
        """Return the bands of relative errors, at least one; the interval is Student's."""
        sizes, n = np.abs(errors), len(errors)
        within = {f"within_{band}": float(np.mean(sizes <= band / 100)) for band in _BANDS}
        bias = float(np.mean(errors))
        if n < 2:
            return cls(within, bias, None)
        half = float(student.ppf(0.975, n - 1) * np.std(errors, ddof=1) / math.sqrt(n))
        return cls(within, bias, (bias - half, bias + half))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        interval = None if self.bias_interval is None else list(self.bias_interval)
        return {**self.within, "bias": self.bias, "bias_interval": interval}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Predictions against measurements; `rows` with the largest error first.

    `graph`: which graph the predictor costs, None where it has no such choice; `different`: what the device was like
    otherwise than when it was fitted; `next_architectures` with the command that measures them: what would tell most.
    """

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
    bands: Bands
    graph: str | None
    different: tuple[str, ...]
    next_architectures: tuple[str, ...]
    next_command: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return {
            "comparison_id": self.comparison_id,
            "device": self.device,
            "space": self.space,
            "predictor": self.predictor,
            "graph": self.graph,
            "source": self.source,
            "run_id": self.run_id,
            "n": self.judgement.scores.n,
            "not_measured": self.asked - len(self.rows),
            **self.judgement.to_json(),
            "bands": self.bands.to_json(),
            "different": list(self.different),
            "next": {"architectures": list(self.next_architectures), "command": self.next_command},
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
    source, run_id, test = _tested(workspace, space, request, fitted, configs, progress)
    train = Samples(fitted.architectures, fitted.latency_s, ((),) * len(fitted.architectures))
    sources = find_sources(workspace, space, request.device)
    judgement, predictions = judge_fitted(fitted.predictor, train, test, sources)
    runs = {} if source == "table" else tested_runs(workspace, space, request.device, test)
    before, after = _conditions(workspace, space, request.device, fitted, runs)
    rows = _rows(workspace, space, fitted, test, predictions, runs, before)
    ahead = suggest(space, [*fitted.architectures, *test.architectures], _SUGGESTED, request.seed) if before else []
    now = datetime.now(UTC)
    comparison = Comparison(
        new_id(now),
        request.device,
        space.name,
        fitted.name,
        source,
        run_id,
        request.seed,
        request.n if source != "recorded" else len(test),
        judgement,
        rows,
        Bands.of([row.error for row in rows]),
        costed_graph(fitted.predictor),
        tuple(differences(before, after)) if before and after else (),
        tuple(item.text for item in ahead),
        command(space, request.device, ahead) if ahead else "",
    )
    store_comparison(workspace, comparison.comparison_id, now, request.seed, comparison.to_json())
    return comparison


def costed_graph(predictor: Predictor) -> str | None:
    """Return which graph a fitted predictor costs, None where it chooses none."""
    parameters = predictor.parameters()
    found = next((parameters[name] for name in ("graph", "view", "macs") if name in parameters), None)
    return None if found is None else str(found)


def new_id(now: datetime) -> str:
    """Return the id of a comparison."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def store_comparison(workspace: Workspace, name: str, now: datetime, seed: int, values: dict[str, Any]) -> None:
    """Write a comparison into the workspace, where a report finds it by its id."""
    folder = workspace.path / "comparisons"
    folder.mkdir(parents=True, exist_ok=True)
    created = now.isoformat(timespec="seconds")
    content = {"schema_version": SCHEMA_VERSION, "created_at": created, "seed": seed, **values}
    text = json.dumps(content, indent=1, allow_nan=False)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def _tested(
    workspace: Workspace,
    space: SearchSpace,
    request: CompareRequest,
    fitted: FittedPredictor,
    configs: Path | None,
    progress: Progress,
) -> tuple[str, str | None, Samples]:
    """Return where the test samples come from, the campaign that measured them now (None: no such), and the samples."""
    trained = {space.canonical(item) for item in fitted.architectures}
    if is_table(request.device):
        return "table", None, table_samples(workspace, request.device, space, request.n, request.seed, trained)
    if request.recorded:
        return "recorded", None, _recorded(workspace, space, request, trained)
    new = space.sample_distinct(request.n, request.seed, exclude=frozenset(trained))
    config = find_device(request.device, configs)
    run_id, test = measure_samples(workspace, config, space, new, request.seed, progress)
    return "measured", run_id, test


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


def _conditions(
    workspace: Workspace, space: SearchSpace, device: str, fitted: FittedPredictor, runs: Mapping[str, str]
) -> tuple[Conditions | None, Conditions | None]:
    """Return what the device was like when it was learned from, and when it was tested; None of a table."""
    if is_table(device):
        return None, None
    before = workspace.store.conditions(fitting_runs(workspace, space, device, fitted))
    return before, workspace.store.conditions(sorted(set(runs.values())))


def _rows(
    workspace: Workspace,
    space: SearchSpace,
    fitted: FittedPredictor,
    test: Samples,
    predictions: Predictions,
    runs: Mapping[str, str],
    before: Conditions | None,
) -> tuple[Row, ...]:
    unseen = unseen_features(space, fitted.architectures, test)
    rare = rare_blocks(space, fitted.architectures, test)
    widths = half_widths(test)
    nothing: list[tuple[str, ...]] = [()] * len(test)
    different = nothing if before is None else row_differences(workspace, space, test, runs, before)
    rows = []
    for i, (architecture, guess) in enumerate(zip(test.architectures, predictions, strict=True)):
        measured_s = float(test.latency_s[i])
        rows.append(
            Row(
                architecture.text,
                guess.mean_s,
                guess.lower_s,
                guess.upper_s,
                measured_s,
                guess.mean_s / measured_s - 1,
                guess.lower_s <= measured_s <= guess.upper_s,
                widths[i],
                unseen[i],
                reasons(widths[i], different[i], rare[i], unseen[i]),
            )
        )
    return tuple(sorted(rows, key=lambda row: -abs(row.error)))
