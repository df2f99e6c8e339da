"""`hilnas predict --evaluate`: how a predictor does on a device of which everything is known, over several seeds."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from hilnas import plugins
from hilnas.errors import HilnasError, UsageError
from hilnas.records import Provenance
from predictors._base import Predictions, Predictor
from predictors._baselines import AdditiveTable
from predictors._evaluation import Scores, acceptance, evaluate
from predictors._trial_data import Array, Known, Places, known_devices
from predictors._trial_records import Trial, TrialRequest, Trials
from predictors.transfer import Transfer
from profiler._campaign import Progress, silent
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace


@dataclass(frozen=True, eq=False)
class _Bench:
    """What all seeds share: devices of the target's space, forms of their architectures, devices of other spaces."""

    own: Known
    forms: tuple[str, ...]
    others: tuple[Known, ...]
    latency_s: Array


@dataclass(frozen=True, slots=True)
class _Outcome:
    trial: Trial
    n_evaluated: int
    best_source: str | None
    parameters: Mapping[str, Any]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def processes(n: int) -> AbstractContextManager[Executor | None]:
    """Return n processes for the seeds of evaluations; none where one would do."""
    if n == 1:
        return nullcontext()
    # Started anew: forking a process that has threads may hang. An interrupt is for the one that waits.
    return ProcessPoolExecutor(n, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN))


def run_trials(
    workspace: Workspace,
    space: SearchSpace,
    request: TrialRequest,
    progress: Progress = silent,
    pool: Executor | None = None,
) -> Trials:
    """Return the figures of a predictor on a target, over the seeds; the same ones in processes of a pool.

    Each seed draws `source_samples` architectures a space, of which the sources' times may be used, and gives the
    predictor `budget` times of the target, which it chooses itself. It is judged on all connected architectures of the
    target that are neither drawn nor isomorphic to one that was measured. Raises UsageError for what cannot be
    evaluated.
    """
    bench = _bench(workspace, space, request)
    seeds = range(request.first_seed, request.first_seed + request.seeds)
    run = partial(_trial, bench, request)
    found: list[_Outcome] = []
    progress(0, request.seeds, "seeds")
    try:
        for outcome in map(run, seeds) if pool is None else pool.map(run, seeds):
            found.append(outcome)
            progress(len(found), request.seeds, "seeds")
    except BrokenProcessPool as error:
        raise HilnasError(
            "a process of the evaluation has ended", "It may have run out of memory.", "Use fewer: --workers 1"
        ) from error
    return Trials(
        request,
        int(np.mean([item.n_evaluated for item in found])),
        tuple(item.trial for item in found),
        tuple(sorted({item.best_source for item in found if item.best_source})),
        found[0].parameters,
    )


def _bench(workspace: Workspace, space: SearchSpace, request: TrialRequest) -> _Bench:
    plugins.load("predictors", request.predictor, Predictor)
    if request.drawn > request.budget:
        raise UsageError(f"{request.drawn} measurements for intervals are more than the budget of {request.budget}")
    own, others = known_devices(workspace, space, request.target, request.sources)
    forms = tuple(space.canonical(item) for item in own.architectures)
    latency_s = own.latency_s[request.target]
    distinct = len({form for form, time in zip(forms, latency_s, strict=True) if np.isfinite(time)})
    if distinct <= request.budget:
        raise UsageError(
            f"{request.target} has {distinct} distinct connected architectures: too few for a budget of"
            f" {request.budget} and something to judge it on",
            "",
            "Use a smaller one: --budget N",
        )
    return _Bench(own, forms, others, latency_s)


def _trial(bench: _Bench, request: TrialRequest, seed: int) -> _Outcome:
    # More threads would only wait for those of other seeds, and add up in another order.
    with threadpool_limits(limits=1):
        return _one(bench, request, seed)


def _one(bench: _Bench, request: TrialRequest, seed: int) -> _Outcome:
    rng = np.random.default_rng(seed)
    used = [known.draw(request.source_samples, rng) for known in (bench.own, *bench.others)]
    predictor = _predictor(bench, request, used, seed)
    chosen, drawn = _measure(bench, predictor, request, rng)
    taken = chosen + drawn
    X = [bench.own.architectures[i] for i in taken]
    if isinstance(predictor, Transfer):
        predictor.fit(X, bench.latency_s[taken], drawn=[False] * len(chosen) + [True] * len(drawn))
    else:
        predictor.fit(X, bench.latency_s[taken])
    held = _held(bench, request, used[0], taken)
    truth = bench.latency_s[held]
    predictions = predictor.predict([bench.own.architectures[i] for i in held], coverage=0.9)
    limit_s = float(np.median(truth))
    scores = evaluate(truth, predictions, limit_s)
    best, spearman, within = _best_source(bench, taken, held)
    accepted = acceptance(truth, predictions.upper_s, limit_s)
    # A seed that accepts nothing violates nothing: its acceptance says what that is worth.
    trial = Trial(
        scores.spearman, scores.kendall, scores.within_5, scores.within_10, scores.mape, scores.coverage,
        scores.interval_width, scores.violation_upper or 0.0, accepted, spearman, within,
    )  # fmt: skip
    return _Outcome(trial, len(held), best, predictor.parameters())


def _predictor(bench: _Bench, request: TrialRequest, used: Sequence[Places], seed: int) -> Predictor:
    """Return a predictor that knows the sources; a lookup table without block times learns them from the samples."""
    space = bench.own.space()
    if request.predictor == "lookup_table":
        return AdditiveTable(space, seed=seed)
    kind = plugins.load("predictors", request.predictor, Predictor)
    if kind is not Transfer:
        return kind(space, seed=seed)
    devices = zip((bench.own, *bench.others), used, strict=True)
    sources = [known.source(name, places) for known, places in devices for name in known.sources]
    return Transfer(space, seed=seed, sources=sources)


def _measure(
    bench: _Bench, predictor: Predictor, request: TrialRequest, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Return the places of what the predictor chose, one look at a time, and of others that were drawn at random."""
    there = np.flatnonzero(np.isfinite(bench.latency_s)).tolist()
    candidates = [bench.own.architectures[i] for i in there]
    chosen: list[int] = []
    while len(chosen) < request.budget - request.drawn:
        found = predictor.choose(
            candidates,
            request.budget - request.drawn - len(chosen),
            [bench.own.architectures[i] for i in chosen],
            bench.latency_s[chosen],
        )
        if not found:
            break
        chosen += [there[i] for i in found]
    seen = {bench.forms[i] for i in chosen}
    drawn: list[int] = []
    for place in rng.permutation(there).tolist():
        if len(drawn) < request.drawn and bench.forms[place] not in seen:
            seen.add(bench.forms[place])
            drawn.append(place)
    return chosen, drawn


def _held(bench: _Bench, request: TrialRequest, used: Places, taken: Sequence[int]) -> list[int]:
    """Return the places to judge on; raise UsageError where the sources' samples and the budget leave nothing."""
    seen, known = {bench.forms[i] for i in taken}, set(used.tolist())
    there = np.flatnonzero(np.isfinite(bench.latency_s)).tolist()
    held = [i for i in there if i not in known and bench.forms[i] not in seen]
    if not held:
        raise UsageError(
            f"nothing of {request.target} is left to judge on",
            f"{len(known)} of its architectures serve as samples of the sources, {len(taken)} are measured.",
            "Use fewer: --source-samples N",
        )
    return held


def _best_source(
    bench: _Bench, taken: Sequence[int], held: Sequence[int]
) -> tuple[str | None, float | None, float | None]:
    """Return the source that ranks the measured networks best, its Spearman and share within 10 % on the held ones.

    Only sources that have times of the same networks can be compared: none of another space has.
    """
    ranks: dict[str, float] = {}
    for name in bench.own.sources:
        seen = _scaled(bench, name, taken, taken)
        if seen.n > 1:
            ranks[name] = -1.0 if seen.spearman is None else seen.spearman
    if not ranks:
        return None, None, None
    best = max(ranks, key=ranks.__getitem__)
    scores = _scaled(bench, best, taken, held)
    return best, scores.spearman, scores.within_10


def _scaled(bench: _Bench, source: str, taken: Sequence[int], places: Sequence[int]) -> Scores:
    """Return the scores of a source at these places, scaled by the median ratio at those taken, where it has times."""
    theirs = bench.own.latency_s[source]
    ratios = [bench.latency_s[i] / theirs[i] for i in taken if np.isfinite(theirs[i])]
    there = [i for i in places if np.isfinite(theirs[i])] if ratios else []
    guess = theirs[there] * (np.median(ratios) if ratios else 1.0)
    model: Provenance = "model"
    return evaluate(bench.latency_s[there], Predictions(guess, guess, guess, (model,) * len(there)))
