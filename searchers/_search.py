"""The searches of one command: the searcher and its baselines, under every seed, recorded as they go."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from hilnas import plugins
from hilnas.errors import HilnasError
from profiler._campaign import Progress, silent
from searchers._base import Searcher
from searchers._loop import run_study
from searchers._options import option_defaults
from searchers._problem import Evaluation, Study
from searchers._records import StudyLog
from searchers._request import RANDOM, Setup
from searchers.evaluators._base import Evaluator

#: The searcher that was asked for without a reward for keeping the limits: the ablation of R_LAT.
ABLATION = "without_latency_reward"
#: Evaluations that are worth other processes: each takes seconds to start.
_WORTH_PROCESSES = 4000


@dataclass(frozen=True)
class Studies:
    """The studies of one command by contender, each with one study a seed; the seeds are the same for all."""

    searcher: str
    by_name: Mapping[str, Sequence[Study]]

    @property
    def own(self) -> Sequence[Study]:
        """Return the studies of the searcher that was asked for."""
        return self.by_name[self.searcher]

    @property
    def beside(self) -> Mapping[str, Sequence[Study]]:
        """Return the studies of everything that ran beside it."""
        return {name: studies for name, studies in self.by_name.items() if name != self.searcher}


@dataclass(frozen=True)
class Contender:
    """A searcher with its options, under the name it has in the answer."""

    name: str
    searcher: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class _Job:
    """All contenders under one seed; `recorded` holds what is known of them."""

    setup: Setup
    log: StudyLog
    seed: int
    recorded: Mapping[str, Sequence[Evaluation]]


def contenders(setup: Setup) -> list[Contender]:
    """Return the searcher that was asked for and random search; with `baselines` all others and the ablation too."""
    request = setup.request
    found = [Contender(request.searcher, request.searcher, setup.options)]
    beside = [RANDOM]
    if request.baselines:
        beside = plugins.names("searchers")
        if setup.options.get("reward", option_defaults(setup.searcher).get("reward", "none")) != "none":
            found.append(Contender(ABLATION, request.searcher, {**setup.options, "reward": "none"}))
    return found + [Contender(name, name, {}) for name in beside if name != request.searcher]


def search(setup: Setup, log: StudyLog, progress: Progress, workers: int | None = None) -> Studies:
    """Run what is not yet recorded, and return all studies.

    Seeds run in several processes (`workers`; None: as many as are worth it) with the results of one process. Raises
    HilnasError where one of them ends.
    """
    recorded = log.recorded(setup.space)
    seeds = [setup.request.seed + i for i in range(setup.request.seeds)]
    names = [item.name for item in contenders(setup)]
    jobs = [_Job(setup, log, seed, {name: recorded.get((name, seed), ()) for name in names}) for seed in seeds]
    workers = min(len(jobs), workers or _worth(setup, len(jobs) * len(names)))
    found = _one_by_one(jobs, progress) if workers == 1 else _at_once(jobs, workers, progress)
    return Studies(setup.request.searcher, {name: [studies[name] for studies in found] for name in names})


def _worth(setup: Setup, studies: int) -> int:
    """Return how many processes are worth it: one for little work, or for work that cannot be sent to another."""
    from predictors._trials import cores

    if studies * setup.evaluations < _WORTH_PROCESSES:
        return 1
    try:
        pickle.dumps(setup)
    except (pickle.PicklingError, AttributeError, TypeError):
        return 1
    return cores()


def _one_by_one(jobs: Sequence[_Job], progress: Progress) -> list[dict[str, Study]]:
    each = len(jobs[0].recorded) * jobs[0].setup.evaluations

    def shifted(before: int) -> Progress:
        return lambda done, _total, text: progress(before + done, each * len(jobs), text)

    return [_run(job, shifted(i * each)) for i, job in enumerate(jobs)]


def _at_once(jobs: Sequence[_Job], workers: int, progress: Progress) -> list[dict[str, Study]]:
    from predictors._trials import processes

    found: list[dict[str, Study]] = []
    with processes(workers) as pool:
        if pool is None:
            raise ValueError("one process needs no pool")
        progress(0, len(jobs), "seeds")
        try:
            for studies in pool.map(_run, jobs):
                found.append(studies)
                progress(len(found), len(jobs), "seeds")
        except BrokenProcessPool as error:
            raise HilnasError(
                "a process of the search has ended",
                "It may have run out of memory. Every evaluation recorded before is kept.",
                f"Go on with: hilnas search --resume {jobs[0].log.study_id}",
            ) from error
    return found


def _run(job: _Job, progress: Progress = silent) -> dict[str, Study]:
    """Return the studies of all contenders under one seed, by name."""
    evaluator = job.setup.evaluator.seeded(job.seed)
    # More threads would only wait for those of other seeds, and add up in another order.
    with threadpool_limits(limits=1):
        return {
            item.name: _study(job, item, evaluator, progress, i * job.setup.evaluations)
            for i, item in enumerate(contenders(job.setup))
        }


def _study(job: _Job, contender: Contender, evaluator: Evaluator, progress: Progress, before: int) -> Study:
    kind = plugins.load("searchers", contender.searcher, Searcher)
    problem = job.setup.problem(job.seed)
    recorded = job.recorded[contender.name]
    done = before + len(recorded)

    def watch(evaluations: Sequence[Evaluation]) -> None:
        nonlocal done
        job.log.append(contender.name, job.seed, evaluations)
        done += len(evaluations)
        progress(done, 0, f"{contender.name}, seed {job.seed}")

    searcher = kind(job.setup.space, problem, **contender.options)
    return run_study(
        searcher, evaluator, job.setup.cost_models, problem, name=contender.name, recorded=recorded, watch=watch
    )
