"""The searches on pictures of one command: every seed under every bound, judged alike, and random search beside them.

What is derived is trained for a few epochs and judged by pictures it has not seen; random search draws networks that
keep the limits and judges them the same way, until it has taken as long as the search of that seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilnas.records import Architecture
from predictors._trials import cores
from profiler._campaign import Progress
from profiler._metrics import stored_names
from search_spaces._supergraph import SupernetSpace
from searchers._loop import judged
from searchers._nearest import derive_within, keeps
from searchers._problem import Evaluation, Problem, Study
from searchers._reach import smallest
from searchers._records import StudyLog
from searchers._request import RANDOM, PictureSetup, Setup
from searchers._search import Studies
from searchers._supernet_jobs import Job, Searched, run_jobs
from searchers.evaluators._base import Score
from searchers.evaluators.trained import Trained
from searchers.supernets._base import GradientSearcher, Task

_NOT_TRAINED = "not trained: it does not keep the limits"
#: Random architectures that are drawn, at most, for one that keeps the limits.
_DRAWS = 2000


@dataclass(frozen=True)
class PictureStudies:
    """The studies, and what each search of a seed under a bound gave, as a JSON value."""

    studies: Studies
    searches: Sequence[Mapping[str, Any]]


def search_on_pictures(
    setup: Setup, log: StudyLog, folder: Path, progress: Progress, workers: int | None = None
) -> PictureStudies:
    """Run what is not yet recorded, and return all studies; `workers` searches at once (None: one a core).

    Raises HilnasError where a search ends, and what a search raises.
    """
    request = setup.request
    seeds = [request.seed + i for i in range(request.seeds)]
    jobs = [job for seed in seeds for job in _jobs(setup, folder, seed)]
    on_cpu = str(setup.options.get("device", "cpu")) == "cpu"
    found = run_jobs(jobs, (workers or cores()) if on_cpu else 1, progress)
    recorded = log.recorded(setup.space)
    own: list[Study] = []
    random: list[Study] = []
    searches: list[dict[str, Any]] = []
    for seed in seeds:
        pairs = [(job, item) for job, item in zip(jobs, found, strict=True) if job.task.seed == seed]
        judge = _Judge(setup, log, seed, recorded)
        proposals = {job.name: _proposals(setup, item) for job, item in pairs}
        searches += [_described(setup, job, item, proposals[job.name]) for job, item in pairs]
        progress(0, 0, f"judging what seed {seed} proposes")
        distinct = dict.fromkeys(one for items in proposals.values() for one in items)
        own.append(judge.study(request.searcher, distinct, sum(item.elapsed_s for _, item in pairs)))
        progress(0, 0, f"random search beside seed {seed}")
        random.append(judge.random(own[-1].elapsed_s))
    return PictureStudies(Studies(request.searcher, {request.searcher: own, RANDOM: random}), searches)


def _jobs(setup: Setup, folder: Path, seed: int) -> list[Job]:
    shared, kind = _pictures(setup), _kind(setup)
    limits = {item.metric: item.limit for item in setup.constraints}

    def task(factor: float) -> Task:
        return Task(
            setup.space,
            shared.skeleton,
            shared.pictures,
            limits,
            shared.costs,
            setup.cost_models,
            seed,
            factor,
            shared.memory_bytes,
        )

    factors = kind(task(1.0), **setup.options).factors
    name = setup.request.searcher
    return [Job(name, task(item), setup.options, folder / f"{name}-seed{seed}-x{item:g}") for item in factors]


def _kind(setup: Setup) -> type[GradientSearcher]:
    if not issubclass(setup.searcher, GradientSearcher):
        raise TypeError(f"{setup.searcher} does not search on pictures")
    return setup.searcher


def _pictures(setup: Setup) -> PictureSetup:
    if setup.pictures is None:
        raise ValueError("the request has no pictures")
    return setup.pictures


def _proposals(setup: Setup, item: Searched) -> list[Architecture]:
    """Return what a search proposes: its own architectures, and the strongest one that keeps the limits."""
    found = list(item.outcome.architectures)
    if isinstance(setup.space, SupernetSpace) and item.outcome.shares and setup.constraints and _kind(setup).limited:
        shares = [np.array(row) for row in item.outcome.shares]
        limits = {one.metric: one.limit for one in setup.constraints}
        within = derive_within(setup.space, shares, _pictures(setup).costs, setup.cost_models, limits)
        found += [] if within is None else [within]
    return list(dict.fromkeys(found))


def _described(setup: Setup, job: Job, item: Searched, proposals: Sequence[Architecture]) -> dict[str, Any]:
    """Return a search as a JSON value: bounds, what was expected in the end, and what was derived really costs."""
    names = stored_names()
    history = item.outcome.history
    last = history[-1] if history else {}
    costs = {model.metric: [cost.value for cost in model.costs(proposals)] for model in setup.cost_models}
    return {
        "seed": job.task.seed,
        "factor": job.task.factor,
        "elapsed_s": item.elapsed_s,
        "peak_bytes": item.peak_bytes,
        "cause": item.outcome.cause,
        "bounds": {names[name]: bound for name, bound in job.task.bounds.items()},
        "expected": {names[name]: value for name, value in last.get("expected", {}).items()},
        "multipliers": {names[name]: value for name, value in last.get("multipliers", {}).items()},
        "derived": [
            {"architecture": one.text, **{names[metric]: values[i] for metric, values in costs.items()}}
            for i, one in enumerate(proposals)
        ],
        "history": list(history),
    }


class _Judge:
    """Judges the architectures of one seed, and records each once."""

    def __init__(
        self, setup: Setup, log: StudyLog, seed: int, recorded: Mapping[tuple[str, int], Sequence[Evaluation]]
    ) -> None:
        self._setup, self._log, self._seed, self._recorded = setup, log, seed, recorded
        self._limits = {item.metric: item.limit for item in setup.constraints}

    def study(self, name: str, architectures: Mapping[Architecture, None], elapsed_s: float) -> Study:
        """Return the study of proposed architectures."""
        found = [self._evaluation(name, item) for item in architectures]
        return Study(name, self._problem(len(found)), tuple(found), elapsed_s + sum(map(self._seconds, architectures)))

    def random(self, budget_s: float) -> Study:
        """Return a study of random architectures that keep the limits, as many as the time allows, one at least."""
        rng = np.random.default_rng(self._seed)
        found: dict[Architecture, Evaluation] = {}
        spent_s = 0.0
        while spent_s < budget_s or not found:
            item = self._draw(rng, found)
            if item is None:
                break
            found[item] = self._evaluation(RANDOM, item)
            spent_s += self._seconds(item)
        return Study(RANDOM, self._problem(len(found)), tuple(found.values()), spent_s)

    def _draw(self, rng: np.random.Generator, known: Mapping[Architecture, object]) -> Architecture | None:
        """Return a random architecture that keeps the limits; where chance finds none, the cheapest known."""
        space, models = self._setup.space, self._setup.cost_models
        for _ in range(_DRAWS):
            item = space.sample(rng)
            if item not in known and keeps(item, models, self._limits):
                return item
        cheapest = None if known or not models else smallest(space, models[0])
        return None if cheapest is None else cheapest[0]

    def _problem(self, evaluations: int) -> Problem:
        return Problem(self._setup.space.name, self._setup.constraints, max(1, evaluations), self._seed)

    def _evaluation(self, name: str, architecture: Architecture) -> Evaluation:
        """Return what was recorded of an architecture, or judge it now and record it."""
        known = self._recorded.get((name, self._seed), ())
        found = next((item for item in known if item.architecture == architecture), None)
        if found is not None:
            return found
        models = self._setup.cost_models
        costs = {model.metric: model.costs([architecture])[0] for model in models}
        kept = keeps(architecture, models, self._limits)
        score = self._setup.evaluator.evaluate([architecture])[0] if kept else Score.missing(_NOT_TRAINED)
        found = judged(self._problem(1), architecture, score, costs)
        self._log.append(name, self._seed, [found])
        return found

    def _seconds(self, architecture: Architecture) -> float:
        """Return how long it took to judge an architecture, whenever that was."""
        evaluator = self._setup.evaluator
        if not isinstance(evaluator, Trained) or not keeps(architecture, self._setup.cost_models, self._limits):
            return 0.0
        return evaluator.training(architecture).elapsed_s
