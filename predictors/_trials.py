"""`hilnas predict --evaluate`: how a predictor does on a device of which everything is known, over several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from hilnas import plugins
from hilnas.errors import UsageError
from hilnas.records import Architecture
from predictors._base import Predictor
from predictors._baselines import AdditiveTable
from predictors._evaluation import acceptance, evaluate
from predictors._sources import read_values, source_of
from predictors.transfer import Transfer
from profiler._campaign import Progress, silent
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace

#: From this budget on, this many of its networks are drawn at random, for intervals.
_CALIBRATED_FROM, _CALIBRATION = 40, 20
#: The best source is judged within this share of the truth.
_WITHIN = 0.10


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
            return min(self.calibration, self.budget)
        return _CALIBRATION if self.budget >= _CALIBRATED_FROM else 0


@dataclass(frozen=True, slots=True)
class Trial:
    """The figures of one seed; None where they are not defined."""

    spearman: float | None
    kendall: float | None
    within_5: float | None
    within_10: float | None
    mape: float | None
    coverage_90: float | None
    interval_width: float | None
    violation_rate: float | None
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


@dataclass(frozen=True, eq=False)
class _Bench:
    """What all seeds share: the target's connected networks with their seconds and forms, and the sources' values."""

    space: SearchSpace
    architectures: tuple[Architecture, ...]
    latency_s: NDArray[np.float64]
    forms: tuple[str, ...]
    sources: Mapping[str, Mapping[str, float]]


def run_trials(workspace: Workspace, space: SearchSpace, request: TrialRequest, progress: Progress = silent) -> Trials:
    """Return the figures of a predictor on a target, over the seeds.

    Each seed draws `source_samples` architectures, of which the sources' times may be used, and gives the predictor
    `budget` times of the target, which it chooses itself. It is judged on all connected architectures of the target
    that are neither drawn nor isomorphic to one that was measured. Raises UsageError for what cannot be evaluated.
    """
    bench = _bench(workspace, space, request)
    done = []
    for i in range(request.seeds):
        progress(i, request.seeds, f"seed {request.first_seed + i}")
        done.append(_trial(bench, request, request.first_seed + i))
    trials, counts, best, parameters = zip(*done, strict=True)
    return Trials(request, int(np.mean(counts)), trials, tuple(sorted(set(filter(None, best)))), parameters[0])


def _bench(workspace: Workspace, space: SearchSpace, request: TrialRequest) -> _Bench:
    values = read_values(workspace, request.target, space)
    parsed = [space.parse(text) for text in sorted(values)]
    connected = [item for item in parsed if space.graph(item).connected]
    if request.target in request.sources:
        raise UsageError(f"{request.target} cannot be a source of itself", "", "Leave it out of --sources.")
    if len(connected) <= request.budget:
        raise UsageError(
            f"{request.target} has {len(connected)} connected architectures: too few for a budget of {request.budget}"
        )
    return _Bench(
        space,
        tuple(connected),
        np.array([values[item.text] for item in connected]),
        tuple(space.canonical(item) for item in connected),
        {name: read_values(workspace, name, space) for name in request.sources},
    )


def _trial(bench: _Bench, request: TrialRequest, seed: int) -> tuple[Trial, int, str | None, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    texts = _drawn_texts(bench, request, rng)
    predictor = _predictor(bench, request, texts, seed)
    chosen, drawn = _measure(bench, predictor, request, rng)
    taken = chosen + drawn
    X = [bench.architectures[i] for i in taken]
    if isinstance(predictor, Transfer):
        predictor.fit(X, bench.latency_s[taken], drawn=[False] * len(chosen) + [True] * len(drawn))
    else:
        predictor.fit(X, bench.latency_s[taken])
    used, seen = set(texts), {bench.forms[i] for i in taken}
    held = [i for i, item in enumerate(bench.architectures) if item.text not in used and bench.forms[i] not in seen]
    truth = bench.latency_s[held]
    predictions = predictor.predict([bench.architectures[i] for i in held], coverage=0.9)
    limit_s = float(np.median(truth))
    scores = evaluate(truth, predictions, limit_s)
    best, spearman, within = _best_source(bench, taken, held)
    accepted = acceptance(truth, predictions.upper_s, limit_s)
    trial = Trial(
        scores.spearman, scores.kendall, scores.within_5, scores.within_10, scores.mape, scores.coverage,
        scores.interval_width, scores.violation_upper, accepted, spearman, within,
    )  # fmt: skip
    return trial, len(held), best, predictor.parameters()


def _drawn_texts(bench: _Bench, request: TrialRequest, rng: np.random.Generator) -> list[str]:
    """Return the architectures whose times on the sources may be used: the same ones of every source."""
    if not bench.sources:
        return []
    known = sorted(set().union(*(values.keys() for values in bench.sources.values())))
    return [known[i] for i in sorted(rng.permutation(len(known))[: request.source_samples])]


def _predictor(bench: _Bench, request: TrialRequest, texts: Sequence[str], seed: int) -> Predictor:
    """Return a predictor that knows the sources; a lookup table without block times learns them from the samples."""
    if request.predictor == "lookup_table":
        return AdditiveTable(bench.space, seed=seed)
    kind = plugins.load("predictors", request.predictor, Predictor)
    if kind is not Transfer:
        return kind(bench.space, seed=seed)
    sources = [source_of(name, values, texts, bench.space) for name, values in bench.sources.items()]
    return Transfer(bench.space, seed=seed, sources=[item.to_json() for item in sources])


def _measure(
    bench: _Bench, predictor: Predictor, request: TrialRequest, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Return the places of what the predictor chose, one look at a time, and of what was drawn at random."""
    chosen: list[int] = []
    while len(chosen) < request.budget - request.drawn:
        found = predictor.choose(
            bench.architectures,
            request.budget - request.drawn - len(chosen),
            [bench.architectures[i] for i in chosen],
            bench.latency_s[chosen],
        )
        if not found:
            break
        chosen += found
    rest = [int(i) for i in rng.permutation(len(bench.architectures)) if i not in set(chosen)]
    return chosen, rest[: request.drawn]


def _best_source(
    bench: _Bench, taken: Sequence[int], held: Sequence[int]
) -> tuple[str | None, float | None, float | None]:
    """Return the source that ranks the measured networks best, its Spearman and share within 10 % once scaled.

    The scale is the median ratio on the same networks. A network that it has no time of is left out.
    """
    best: tuple[float, str, float] | None = None
    for name, values in bench.sources.items():
        pairs = [(values[text], bench.latency_s[i]) for i in taken if (text := bench.architectures[i].text) in values]
        if len(pairs) < 2:
            continue
        theirs, ours = np.array(pairs).T
        rank = float(spearmanr(theirs, ours).statistic) if np.ptp(theirs) > 0 and np.ptp(ours) > 0 else -1.0
        if best is None or rank > best[0]:
            best = (rank, name, float(np.median(ours / theirs)))
    if best is None:
        return None, None, None
    _, name, scale = best
    values = bench.sources[name]
    pairs = [
        (values[text] * scale, bench.latency_s[i]) for i in held if (text := bench.architectures[i].text) in values
    ]
    guessed, truth = np.array(pairs).T
    within = float(np.mean(np.abs(guessed / truth - 1) <= _WITHIN))
    return name, float(spearmanr(guessed, truth).statistic), within
