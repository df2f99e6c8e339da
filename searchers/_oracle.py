"""The best that any search could have found: a figure for the reader, computed after the search."""

from __future__ import annotations

from searchers._cost_models import PredictedCost
from searchers._loop import judged
from searchers._request import Setup
from searchers.evaluators._base import Score


def oracle_accuracy(setup: Setup) -> float | None:
    """Return the best accuracy among architectures that keep the limits, None where that is not known.

    It is known where every limit is on exact values, of a table or counted.
    """
    if setup.accuracy is None or any(isinstance(model, PredictedCost) for model in setup.cost_models):
        return None
    problem = setup.problem(setup.request.seed)
    for text, accuracy in sorted(setup.accuracy.items(), key=lambda item: -item[1]):
        architecture = setup.space.parse(text)
        costs = {model.metric: model.costs([architecture])[0] for model in setup.cost_models}
        connected = not setup.space.obstacle(architecture) and setup.space.connected(architecture)
        if connected and judged(problem, architecture, Score(accuracy), costs).feasible:
            return accuracy
    return None
