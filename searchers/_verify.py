"""The last word on a winner is its own measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Literal

from hilnas.records import Architecture, Measurement
from searchers._cost_models import Cost
from searchers._problem import Study
from searchers._request import Setup

if TYPE_CHECKING:
    from profiler._campaign import Progress
    from profiler._workspace import Workspace

#: keeps: the whole interval of the measurement lies under the limit. unclear: the limit lies inside the interval.
#: exceeds: the whole interval lies above. not measured: it failed on the device. table, counted: exact values that need
#: no measurement. predicted only: nothing was measured.
Verdict = Literal["keeps", "unclear", "exceeds", "not measured", "table", "counted", "predicted only"]
#: Verdicts of a candidate that may be reported as the winner.
GOOD: tuple[Verdict, ...] = ("keeps", "table", "counted", "predicted only")
#: Campaigns before giving up: each corrects the predictions by what the last ones measured.
_ROUNDS = 3
#: Best-scored candidates of a searcher that are looked at.
_POOL = 500


@dataclass(frozen=True)
class Candidate:
    """A feasible architecture of one searcher with its costs, and how its measurement turned out."""

    architecture: Architecture
    score: float
    seed: int
    costs: Mapping[str, Cost]
    verdict: Verdict
    measurement: Measurement | None = None

    @property
    def good(self) -> bool:
        """Return whether it may be reported as the winner."""
        return self.verdict in GOOD


@dataclass(frozen=True)
class Verified:
    """The candidates of each searcher that were looked at, best score first, and the campaigns that measured them."""

    by_searcher: Mapping[str, Sequence[Candidate]]
    run_ids: Sequence[str] = ()

    def winner(self, searcher: str) -> Candidate | None:
        """Return the best-scored candidate that may be reported, None where there is none."""
        return next((item for item in self.by_searcher[searcher] if item.good), None)


def verify(workspace: Workspace, setup: Setup, studies: Mapping[str, Sequence[Study]], progress: Progress) -> Verified:
    """Return the best candidates of every searcher, measured again where there is a device to measure on."""
    pools = {name: _pool(setup, found) for name, found in studies.items()}
    if setup.device is None:
        return Verified({name: pool[: setup.request.top] for name, pool in pools.items()})
    measured: dict[Architecture, Measurement] = {}
    run_ids: list[str] = []
    for _ in range(_ROUNDS):
        judged = {name: _judged(setup, pool, measured) for name, pool in pools.items()}
        open_pools = [pool for name, pool in pools.items() if not any(item.good for item in judged[name])]
        picks = dict.fromkeys(item for pool in open_pools for item in choose(setup, pool, measured))
        if not picks:
            break
        run_ids.append(_measure(workspace, setup, list(picks), measured, progress))
    return Verified({name: _judged(setup, pool, measured) for name, pool in pools.items()}, run_ids)


def choose(setup: Setup, pool: Sequence[Candidate], measured: Mapping[Architecture, Measurement]) -> list[Architecture]:
    """Return the architectures to measure next: the best scores that should keep the limit, one of them safely.

    The last place goes to the best score whose upper bound keeps the limit, where none of the others does.
    Predictions are scaled by what the measurements so far say.
    """
    scale = _scale(pool, measured)
    limit = setup.limit("latency")
    open_pool = [item for item in pool if item.architecture not in measured]
    if limit is None:
        return [item.architecture for item in open_pool[: setup.request.top]]
    likely = [item for item in open_pool if (item.costs["latency"].value or 0.0) * scale <= limit]
    safe = [item for item in likely if (item.costs["latency"].upper or 0.0) * scale <= limit]
    picks = likely[: setup.request.top]
    if safe and safe[0] not in picks:
        picks[-1] = safe[0]
    return [item.architecture for item in picks]


def judge(measurement: Measurement, limit: float | None) -> Verdict:
    """Return the verdict on a measured candidate under a limit in seconds (None: no limit on latency)."""
    if measurement.status != "ok" or measurement.lower_s is None or measurement.upper_s is None:
        return "not measured"
    if limit is None or measurement.upper_s <= limit:
        return "keeps"
    return "exceeds" if measurement.lower_s > limit else "unclear"


def _pool(setup: Setup, studies: Sequence[Study]) -> list[Candidate]:
    """Return the feasible candidates of all seeds, best score first, one of each canonical form and score."""
    found: dict[tuple[str, float], Candidate] = {}
    for study in studies:
        for item in study.ranked[:_POOL]:
            score = item.score if item.score is not None else float("-inf")
            candidate = Candidate(item.architecture, score, study.problem.seed, {}, "predicted only")
            found.setdefault((setup.space.canonical(item.architecture), score), candidate)
    best = sorted(found.values(), key=lambda item: -item.score)[:_POOL]
    columns = [model.costs([item.architecture for item in best]) for model in setup.cost_models]
    metrics = [model.metric for model in setup.cost_models]
    verdict = _unmeasured(setup)
    return [
        replace(
            item, verdict=verdict, costs={metric: column[i] for metric, column in zip(metrics, columns, strict=True)}
        )
        for i, item in enumerate(best)
    ]


def _unmeasured(setup: Setup) -> Verdict:
    """Return the verdict on a candidate that is not measured."""
    if setup.request.device is None:
        return "counted"
    return "table" if setup.request.device.startswith("table:") else "predicted only"


def _judged(setup: Setup, pool: Sequence[Candidate], measured: Mapping[Architecture, Measurement]) -> list[Candidate]:
    """Return the measured candidates of a pool with their verdicts."""
    limit = setup.limit("latency")
    return [
        replace(item, measurement=measured[item.architecture], verdict=judge(measured[item.architecture], limit))
        for item in pool
        if item.architecture in measured
    ]


def _measure(
    workspace: Workspace,
    setup: Setup,
    picks: Sequence[Architecture],
    measured: dict[Architecture, Measurement],
    progress: Progress,
) -> str:
    """Measure architectures in a campaign of their own, note them in `measured`, and return the run_id."""
    from profiler._campaign import measure
    from profiler._plan import architecture_workload

    if setup.device is None:
        raise ValueError("there is no device to measure on")
    workloads = [architecture_workload(setup.space, item) for item in picks]
    seed = setup.request.seed
    done = measure(workspace, setup.device, workloads, seed=seed, progress=progress, space=setup.space.name)
    by_key = {item.workload.key: item for item in done.measurements}
    for architecture, workload in zip(picks, workloads, strict=True):
        if workload.key in by_key:
            measured[architecture] = by_key[workload.key]
    return done.run_id


def _scale(pool: Sequence[Candidate], measured: Mapping[Architecture, Measurement]) -> float:
    """Return the median of measured over predicted, 1 where nothing was measured."""
    ratios = []
    for item in pool:
        measurement, cost = measured.get(item.architecture), item.costs.get("latency")
        if measurement is None or measurement.latency_s is None or cost is None or not cost.value:
            continue
        ratios.append(measurement.latency_s / cost.value)
    return median(ratios) if ratios else 1.0
