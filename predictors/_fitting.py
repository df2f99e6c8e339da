"""`hilnas fit`: gather what is recorded, measure what is missing, judge on held-out architectures, fit, save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices._config import DeviceConfig, find_device
from hilnas import plugins
from hilnas.errors import UsageError
from predictors._base import Predictor
from predictors._conformal import assign_folds
from predictors._evaluation import split
from predictors._gathering import DeviceTarget, Gathered, TableTarget, Target, Wanted, gather
from predictors._judging import Judgement, judge_rounds
from predictors._registry import save
from predictors._samples import (
    Samples,
    block_entries,
    is_table,
    measure_blocks,
)
from predictors._sources import find_sources
from predictors.transfer import Transfer
from profiler._campaign import Progress, silent
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace

#: With fewer samples nothing is held out: figures of so few would say nothing.
_MIN_FOR_JUDGEMENT = 6
#: With fewer samples every one is held out once, in so many rounds, instead of a third of them.
_MIN_FOR_ONE_SPLIT = 30
_ROUNDS = 5
#: Values of a table cost nothing: a predictor that does not choose them itself gets so many.
_TABLE_SAMPLES = 300


@dataclass(frozen=True, slots=True)
class FitRequest:
    """What is asked for: `budget` samples in all, or how many to train and to test on (None: a third is tested).

    `interval` ends measuring earlier, as `Wanted` says. `sources` names other devices to learn from (None: all there
    are).
    """

    device: str
    predictor: str
    budget: int | None = None
    n_train: int | None = None
    n_test: int | None = None
    seed: int = 0
    interval: float | None = None
    sources: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit has given; the judgement is that of a fit on the training part, the saved one has seen everything.

    `interval_width` and `stopped` are those of `Gathered`. `sources` were there to learn from; how much each says is
    among the `parameters` of a predictor that reads them.
    """

    request: FitRequest
    space: str
    n_recorded: int
    n_measured: int
    n_blocks_measured: int
    n_fitted: int
    interval_width: float | None
    stopped: str
    sources: tuple[str, ...]
    judgement: Judgement | None
    parameters: dict[str, Any]
    path: Path

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value; without a judgement its figures are None."""
        judged: dict[str, Any] = dict.fromkeys(("n_train", "n_test", "scores", "baselines", "noise_ceiling"))
        if self.judgement is not None:
            judged = self.judgement.to_json()
        return {
            "predictor": self.request.predictor,
            "device": self.request.device,
            "space": self.space,
            "n_recorded": self.n_recorded,
            "n_measured": self.n_measured,
            "n_blocks_measured": self.n_blocks_measured,
            "interval_width": self.interval_width,
            "stopped": self.stopped,
            "sources": list(self.sources),
            **judged,
            "figures_of": "samples that were held out; the saved predictor is fitted on all",
            "n_fitted": self.n_fitted,
            "parameters": self.parameters,
            "path": str(self.path),
        }


def fit_device(
    workspace: Workspace,
    space: SearchSpace,
    request: FitRequest,
    configs: Path | None = None,
    progress: Progress = silent,
) -> FitReport:
    """Fit a predictor for a device, save it in the workspace and return what came out."""
    kind = plugins.load("predictors", request.predictor, Predictor)
    config = None if is_table(request.device) else find_device(request.device, configs)
    sources = find_sources(workspace, space, request.device, request.sources)
    predictor, n_blocks = _predictor(workspace, space, request, kind, config, progress)
    if isinstance(predictor, Transfer):
        predictor.set_params(sources=sources)
    gathered = _gathered(workspace, request, predictor, config, progress)
    samples = gathered.samples
    judgement = _judged(predictor, samples, sources, request)
    fitted = _fitted(predictor, gathered)
    evaluation = {} if judgement is None else {**judgement.to_json(), "seed": request.seed}
    path = save(
        workspace, request.device, request.predictor, fitted, samples.architectures, samples.latency_s, evaluation
    )
    return FitReport(
        request,
        space.name,
        len(samples) - gathered.n_measured,
        gathered.n_measured,
        n_blocks,
        len(samples),
        gathered.interval_width,
        gathered.stopped,
        tuple(item["name"] for item in sources),
        judgement,
        fitted.parameters(),
        path,
    )


def _fitted(predictor: Predictor, gathered: Gathered) -> Predictor:
    samples = gathered.samples
    if isinstance(predictor, Transfer):
        return predictor.fit(samples.architectures, samples.latency_s, drawn=gathered.drawn)
    return predictor.fit(samples.architectures, samples.latency_s)


def _predictor(
    workspace: Workspace,
    space: SearchSpace,
    request: FitRequest,
    kind: type[Predictor],
    config: DeviceConfig | None,
    progress: Progress,
) -> tuple[Predictor, int]:
    """Return the predictor with the block times it needs, measured where they are missing, and how many were."""
    predictor = kind(space, seed=request.seed)
    if "entries" not in predictor.get_params(deep=False):
        return predictor, 0
    if config is None:
        raise UsageError(
            f"{request.predictor} needs block times, and {request.device} has none",
            "A reference table holds whole networks only.",
            f"Use another: hilnas fit {request.device} --predictor gradient_boosting",
        )
    known = block_entries(workspace, request.device, space)
    missing = predictor.set_params(entries=known).requests()
    if missing:
        measure_blocks(workspace, config, space, missing, request.seed, progress)
        predictor.set_params(entries=block_entries(workspace, request.device, space))
    return predictor, len(missing)


def _gathered(
    workspace: Workspace,
    request: FitRequest,
    predictor: Predictor,
    config: DeviceConfig | None,
    progress: Progress,
) -> Gathered:
    """Return what there is to learn from, measured where it is missing."""
    space = predictor.space
    usual = predictor.minimum_samples
    asked = (request.n_train or 0) + (request.n_test or 0)
    if config is None:
        target: Target = TableTarget(workspace, request.device, space, request.seed)
        usual = usual if isinstance(predictor, Transfer) else _TABLE_SAMPLES
        n = max(request.budget or 0, asked) or usual
    else:
        target = DeviceTarget(workspace, config, space, request.seed)
        n = max(request.budget or usual, asked)
    return gather(target, predictor, Wanted(n, request.interval), request.seed, progress)


def _judged(
    predictor: Predictor, samples: Samples, sources: Sequence[Mapping[str, Any]], request: FitRequest
) -> Judgement | None:
    """Return the judgement on held-out samples: a third, or every sample once where a third would say little."""
    forms = [predictor.space.canonical(item) for item in samples.architectures]
    distinct = len(set(forms))
    n_test = request.n_test
    if n_test is None and request.n_train is None:
        if distinct < _MIN_FOR_JUDGEMENT:
            return None
        if distinct < _MIN_FOR_ONE_SPLIT:
            return judge_rounds(predictor, _rotation(samples, forms, request.seed), sources)
        n_test = distinct // 3
    elif n_test is None:
        n_test = max(1, distinct - (request.n_train or 0))
    train, test = split(samples.architectures, forms, request.n_train, n_test, request.seed)
    return judge_rounds(predictor, [(samples.take(train), samples.take(test))], sources)


def _rotation(samples: Samples, forms: list[str], seed: int) -> list[tuple[Samples, Samples]]:
    """Return rounds in which every sample is held out once, with all of its canonical form."""
    folds = assign_folds(forms, _ROUNDS, seed)
    return [
        (
            samples.take([i for i in range(len(forms)) if folds[i] != fold]),
            samples.take([i for i in range(len(forms)) if folds[i] == fold]),
        )
        for fold in range(_ROUNDS)
    ]
