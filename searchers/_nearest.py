"""What a relaxed search derives under limits: the strongest architecture that keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hilnas.records import Architecture
from search_spaces._supergraph import SupernetSpace
from searchers._cost_models import CostModel
from searchers._expected_cost import RelaxedCost

Array = NDArray[np.float64]

_MOST_STEPS = 100
#: What the bounds shrink by where the relaxed costs say that limits are kept and the real ones do not.
_TIGHTER = 0.97
_LEAST_SHARE = 1e-12
#: Relative excess that sums of floats may have at a limit.
_ROUNDING = 1e-9


def derive_within(
    space: SupernetSpace,
    shares: Sequence[Array],
    relaxed: Mapping[str, RelaxedCost],
    models: Sequence[CostModel],
    limits: Mapping[str, float],
) -> Architecture | None:
    """Return the derived architecture, changed one decision at a time until it keeps the limits; None if it cannot.

    Each change is the one that costs the least strength (sum of the logarithms of the chosen shares) for what it takes
    off the excess over the limits. Relaxed costs choose the change, the models' own decide whether limits are kept.
    Then strength is taken back, as long as one change that keeps the limits gives any.
    """
    current, bounds = space.derive(shares), dict(limits)
    if keeps(current, models, limits):
        return current
    for _ in range(_MOST_STEPS):
        if keeps(current, models, limits):
            return _strengthened(space, current, shares, relaxed, models, limits)
        excess = _excess(space, current, shares, relaxed, bounds)
        if excess <= 0:
            bounds = {name: _TIGHTER * bound for name, bound in bounds.items()}
            continue
        better = [
            (_price(space, item, current, shares, excess - less), item)
            for item in _neighbours(space, current)
            if (less := _excess(space, item, shares, relaxed, bounds)) < excess and space.connected(item)
        ]
        if not better:
            return None
        current = min(better, key=lambda pair: pair[0])[1]
    return None


def _strengthened(
    space: SupernetSpace,
    architecture: Architecture,
    shares: Sequence[Array],
    relaxed: Mapping[str, RelaxedCost],
    models: Sequence[CostModel],
    limits: Mapping[str, float],
) -> Architecture:
    """Return an architecture that no single change makes stronger within the limits, as relaxed costs see them."""
    while True:
        own = _strength(space, architecture, shares)
        stronger = [
            (strength, item)
            for item in _neighbours(space, architecture)
            if (strength := _strength(space, item, shares)) > own
            and space.connected(item)
            and _excess(space, item, shares, relaxed, limits) <= _ROUNDING
        ]
        ranked = sorted(stronger, key=lambda pair: -pair[0])
        found = next((item for _, item in ranked if keeps(item, models, limits)), None)
        if found is None:
            return architecture
        architecture = found


def keeps(architecture: Architecture, models: Sequence[CostModel], limits: Mapping[str, float]) -> bool:
    """Return whether the bound of every cost is known and within its limit."""
    bounds = [(model.costs([architecture])[0].bound, limits[model.metric]) for model in models]
    return all(bound is not None and bound <= limit for bound, limit in bounds)


def _neighbours(space: SupernetSpace, architecture: Architecture) -> list[Architecture]:
    found = []
    for place, n in enumerate(space.cardinalities):
        for choice in range(n):
            if choice != architecture.decisions[place]:
                decisions = (*architecture.decisions[:place], choice, *architecture.decisions[place + 1 :])
                found.append(space.architecture(decisions))
    return found


def _price(
    space: SupernetSpace, item: Architecture, current: Architecture, shares: Sequence[Array], gained: float
) -> float:
    return (_strength(space, current, shares) - _strength(space, item, shares)) / gained


def _strength(space: SupernetSpace, architecture: Architecture, shares: Sequence[Array]) -> float:
    kept = [shares[row][choice] for row, choice in space.chosen(architecture) if row < len(shares)]
    return float(np.log(np.maximum(kept, _LEAST_SHARE)).sum())


def _excess(
    space: SupernetSpace,
    architecture: Architecture,
    shares: Sequence[Array],
    relaxed: Mapping[str, RelaxedCost],
    bounds: Mapping[str, float],
) -> float:
    hard = [torch.zeros(len(row), dtype=torch.float64) for row in shares]
    for row, choice in space.chosen(architecture):
        if row < len(hard):
            hard[row][choice] = 1.0
    return sum(max(0.0, float(cost.of(hard)) / bounds[name] - 1) for name, cost in relaxed.items())
