"""The registry of metrics, and what the invocations of one workload say about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import median
from typing import Any

from hilnas import plugins
from hilnas.records import MetricValue, Purpose, RunStatus
from profiler.metrics._base import Metric

#: Units by the ending of a stored name -> dimension; for readings that no metric claims.
_DIMENSIONS = {"_s": "time", "_j": "energy", "_bytes": "bytes", "_hz": "rate", "_w": "power"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One invocation as it is stored, with its raw readings in SI."""

    sequence: int
    attempt: int
    purpose: Purpose
    status: RunStatus
    cause: str | None
    transient: bool
    facts: Mapping[str, Any] = field(repr=False)
    readings: Mapping[str, tuple[float, ...]] = field(repr=False)


@lru_cache(maxsize=1)
def metrics() -> Mapping[str, Metric]:
    """Return every metric by its name on the command line."""
    return {name: plugins.load("profiler.metrics", name, Metric)() for name in plugins.names("profiler.metrics")}


def dimensions() -> dict[str, str]:
    """Return the dimension (hilnas.units) of every metric by its name: what `--max NAME=` may limit."""
    return {name: metric.dimension for name, metric in metrics().items()}


def stored_names() -> dict[str, str]:
    """Return the name with the SI unit of every metric, as records and JSON answers use it."""
    return {name: metric.stored_as for name, metric in metrics().items()}


def static_names() -> tuple[str, ...]:
    """Return the names of the metrics that follow from the graph alone and need no device."""
    return tuple(name for name, metric in metrics().items() if not metric.measured)


def metric_of(stored_as: str) -> Metric | None:
    """Return the metric whose readings go by a name, None for readings that no metric claims."""
    return next((metric for metric in metrics().values() if metric.stored_as == stored_as), None)


def name_of(stored_as: str) -> str:
    """Return the metric's name for people, or the name of the readings where no metric claims them."""
    return next((name for name, metric in metrics().items() if metric.stored_as == stored_as), stored_as)


def dimension_of(stored_as: str) -> str:
    """Return the dimension of readings by their name, `none` for a name without a unit."""
    metric = metric_of(stored_as)
    if metric is not None:
        return metric.dimension
    return next((dimension for ending, dimension in _DIMENSIONS.items() if stored_as.endswith(ending)), "none")


def metric_values(invocations: Sequence[Recorded]) -> dict[str, MetricValue]:
    """Return what the invocations of one workload say beside its latency, by the names of the readings.

    Each invocation counts with its median, and a metric says how these are put together. Doubtful invocations count
    only where no other has the reading and nothing but time is doubtful in them: never for energy. Energy that was
    asked for and cannot be had is None, with the reason.
    """
    names = sorted({name for item in invocations for name in item.readings} - {"latency_s"})
    found = {name: _value(name, invocations) for name in names}
    asked = [item for item in invocations if item.purpose == "energy"]
    if asked:
        found.setdefault("energy_j", MetricValue(None, 0, asked[-1].cause))
    return found


def _value(name: str, invocations: Sequence[Recorded]) -> MetricValue:
    having = [item for item in invocations if item.readings.get(name)]
    usable = [item for item in having if item.status == "ok"]
    if not usable and having[-1].purpose == "energy":
        return MetricValue(None, 0, having[-1].cause)
    medians = [float(median(item.readings[name])) for item in usable or having]
    metric = metric_of(name)
    value = metric.combine(medians) if metric else float(median(medians))
    energy = (usable or having)[-1].facts.get("energy")
    if energy is None:
        return MetricValue(value, len(medians))
    uncertainty = energy.get(name.replace("_j", "_uncertainty_j"))
    return MetricValue(value, len(medians), uncertainty=uncertainty, scope=_scope(energy))


def _scope(energy: Mapping[str, Any]) -> str:
    """Return what a sensor of energy sees, by its own word, and what it does not see."""
    return f"{energy['scope']} ({energy['sensor']}); not included: {energy['not_included']}"
