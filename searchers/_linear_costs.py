"""Costs of layers in a row that no sum over blocks gives: the sum over decisions that fits them best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from profiler._metrics import metrics
from search_spaces._chain import ChainSpace
from search_spaces._chain_cost import ChainCost
from search_spaces._costs import aops_by_block
from search_spaces._sub_space import SubSpace, split_by
from searchers._chain_search import ChainExpectation
from searchers._cost_models import CostModel, StaticCost
from searchers._expected_cost import ridge

Array = NDArray[np.float64]
_SAMPLES = 400


def chain_expectation(space: ChainSpace, sub: SubSpace, model: CostModel) -> ChainExpectation:
    """Return the expected cost of the networks of a sub-space; raise UsageError where the model knows too few."""
    if isinstance(model, StaticCost) and model.metric == "aops":  # which no block tells alone
        return ChainExpectation(space.chain_cost(sub, aops_by_block(space.blocks())))
    return ChainExpectation(linear_chain_cost(space, sub, model))


def linear_chain_cost(space: ChainSpace, sub: SubSpace, model: CostModel) -> ChainCost:
    """Return the expected cost of a sub-space: exact for what is counted block by block, else of the best sum.

    Raises UsageError where the model knows too few networks of the space.
    """
    metric = metrics().get(model.metric)
    if isinstance(model, StaticCost) and metric is not None and metric.of_block(space.blocks()[0]) is not None:
        return space.chain_cost(sub, lambda block: metric.of_block(block) or 0.0)
    rng = np.random.default_rng(0)
    samples = [space.sample(rng) for _ in range(_SAMPLES)]
    pairs = zip(samples, model.costs(samples), strict=True)
    known = [(space.encode(item), cost.value) for item, cost in pairs if cost.value is not None]
    if len(known) < _SAMPLES // 2:
        raise UsageError(f"too few networks of {space.name} have a known {model.metric}: {len(known)} of {_SAMPLES}")
    fixed, weights = ridge(np.array([row for row, _ in known]), np.array([value for _, value in known]))
    return _chain(space, sub, fixed, weights)


def _chain(space: ChainSpace, sub: SubSpace, fixed: float, weights: Array) -> ChainCost:
    """Return the cost of candidates from the weights of one-hot decisions."""
    starts = split_by(tuple(np.cumsum([0, *space.cardinalities[:-1]]).tolist()), space.layer_decisions)
    rows = tuple(
        np.array([sum(weights[start + choice] for start, choice in zip(own, item, strict=True)) for item in candidates])
        for own, candidates in zip(starts, sub.layers, strict=True)
    )
    return ChainCost(fixed, rows, (None,) * (len(rows) - 1))
