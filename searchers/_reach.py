"""Whether a limit can be met at all: the smallest value known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hilnas.errors import Infeasible, UsageError
from hilnas.records import Architecture, Constraint
from hilnas.units import format_value
from profiler._metrics import dimensions
from search_spaces._base import SearchSpace
from searchers._cost_models import CostModel, TableCost

_SAMPLE = 256
_MUTANTS = 32
_ROUNDS = 24


def check_reachable(space: SearchSpace, models: Sequence[CostModel], constraints: Sequence[Constraint]) -> None:
    """Raise Infeasible where even the best architecture known exceeds a limit, naming it and its value."""
    limits = {constraint.metric: constraint for constraint in constraints}
    for model in models:
        found = smallest(space, model)
        constraint = limits[model.metric]
        if found is None:
            raise UsageError(f"no {model.metric} of any connected architecture of {space.name} is known")
        architecture, value = found
        if value > constraint.limit:
            raise Infeasible(
                f"no architecture known keeps {model.metric} <= {shown(model.metric, constraint.limit)}",
                f"The smallest known is {shown(model.metric, value)}{_surely(constraint)}: {architecture}",
                f"Raise the limit: --max {model.metric}=...",
            )


def _surely(constraint: Constraint) -> str:
    return "" if constraint.confidence is None else f" with {constraint.confidence:.0%} confidence"


def smallest(space: SearchSpace, model: CostModel) -> tuple[Architecture, float] | None:
    """Return the connected architecture with the smallest bound, and the bound (SI).

    Exact for a table; otherwise the best of a random sample, improved by mutation.
    """
    if isinstance(model, TableCost):
        return _smallest_entry(space, model.values)
    rng = np.random.default_rng(0)
    best = _best(model, [space.sample(rng) for _ in range(_SAMPLE)])
    for _ in range(_ROUNDS):
        if best is None:
            return None
        better = _best(model, [space.mutate(best[0], rng) for _ in range(_MUTANTS)])
        if better is None or better[1] >= best[1]:
            continue
        best = better
    return best


def _smallest_entry(space: SearchSpace, values: Mapping[str, float]) -> tuple[Architecture, float] | None:
    for text, value in sorted(values.items(), key=lambda item: item[1]):
        architecture = space.parse(text)
        if space.connected(architecture):
            return architecture, value
    return None


def _best(model: CostModel, architectures: Sequence[Architecture]) -> tuple[Architecture, float] | None:
    bounds = [cost.bound for cost in model.costs(architectures)]
    known = [(bound, i) for i, bound in enumerate(bounds) if bound is not None]
    if not known:
        return None
    bound, i = min(known)
    return architectures[i], bound


def shown(metric: str, value: float) -> str:
    """Return a value (SI) of a metric for the screen."""
    return format_value(value, dimensions()[metric])
