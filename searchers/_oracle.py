"""The best that any search could have found: a figure for the reader, computed after the search."""

from __future__ import annotations

import math
from collections.abc import Mapping

from searchers._cost_models import PredictedCost
from searchers._loop import judged
from searchers._request import Setup
from searchers.evaluators._base import Score


def best_feasible(setup: Setup, values: Mapping[str, float] | None) -> float | None:
    """Return the highest finite value (by architecture text) that keeps the limits, None where it is not known.

    It is known where every limit is on exact values, of a table or counted.
    """
    if values is None or any(isinstance(model, PredictedCost) for model in setup.cost_models):
        return None
    problem = setup.problem(setup.request.seed)
    finite = [item for item in values.items() if math.isfinite(item[1])]
    for text, value in sorted(finite, key=lambda item: -item[1]):
        architecture = setup.space.parse(text)
        costs = {model.metric: model.costs([architecture])[0] for model in setup.cost_models}
        connected = not setup.space.obstacle(architecture) and setup.space.connected(architecture)
        if connected and judged(problem, architecture, Score(value), costs).feasible:
            return value
    return None
