"""The searches of one command: the searcher and random search, under every seed, recorded as they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hilnas import plugins
from profiler._campaign import Progress
from searchers._base import Searcher
from searchers._loop import run_study
from searchers._problem import Evaluation, Study
from searchers._records import StudyLog
from searchers._request import RANDOM, Setup


@dataclass(frozen=True)
class Studies:
    """The studies of one command by searcher, each with one study a seed; the seeds are the same for all."""

    searcher: str
    by_searcher: Mapping[str, Sequence[Study]]

    @property
    def own(self) -> Sequence[Study]:
        """Return the studies of the searcher that was asked for."""
        return self.by_searcher[self.searcher]

    @property
    def baseline(self) -> Sequence[Study] | None:
        """Return the studies of random search, None where it is what was asked for."""
        return None if self.searcher == RANDOM else self.by_searcher[RANDOM]


def search(setup: Setup, log: StudyLog, progress: Progress) -> Studies:
    """Run what is not yet recorded, and return all studies."""
    recorded = log.recorded(setup.space)
    names = list(dict.fromkeys([setup.request.searcher, RANDOM]))
    seeds = [setup.request.seed + i for i in range(setup.request.seeds)]
    total = len(names) * len(seeds) * setup.evaluations
    done = 0
    found: dict[str, list[Study]] = {name: [] for name in names}
    for seed in seeds:
        for name in names:
            study = _one(setup, log, name, seed, recorded.get((name, seed), ()), progress, (done, total))
            found[name].append(study)
            done += setup.evaluations
    return Studies(setup.request.searcher, found)


def _one(
    setup: Setup,
    log: StudyLog,
    name: str,
    seed: int,
    recorded: Sequence[Evaluation],
    progress: Progress,
    place: tuple[int, int],
) -> Study:
    kind = plugins.load("searchers", name, Searcher)
    options = setup.options if name == setup.request.searcher else {}
    problem = setup.problem(seed)
    finished = len(recorded)

    def watch(evaluations: Sequence[Evaluation]) -> None:
        nonlocal finished
        log.append(name, seed, evaluations)
        finished += len(evaluations)
        progress(place[0] + finished, place[1], f"{name}, seed {seed}")

    searcher = kind(setup.space, problem, **options)
    return run_study(searcher, setup.evaluator, setup.cost_models, problem, name=name, recorded=recorded, watch=watch)
