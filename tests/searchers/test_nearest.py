"""The strongest network within the limits: it keeps them, and what is strong is given up last."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.darts import Darts
from search_spaces.nasbench201 import NasBench201
from searchers._cost_models import Cost, CostModel, StaticCost, TableCost
from searchers._expected_cost import expected_cost
from searchers._nearest import derive_within, keeps

CELLS = NasBench201(width=4, depth=1, resolution=8)
CONNECTED = [cell for cell in CELLS.enumerate() if CELLS.connected(cell)]
DECISIONS = np.array([cell.decisions for cell in CONNECTED])
MODELS = {name: StaticCost(name, CELLS) for name in ("params", "macs")}
RELAXED = {name: expected_cost(CELLS, model) for name, model in MODELS.items()}
COSTS = {name: np.array([cost.value for cost in model.costs(CONNECTED)]) for name, model in MODELS.items()}


def shares_of(rng, sizes=(5,) * 6, sharpness=1.0):
    return [rng.dirichlet(np.full(n, 1 / sharpness)) for n in sizes]


def strengths(shares):
    logs = np.log(np.maximum(np.array(shares), 1e-12))
    return logs[np.arange(6), DECISIONS].sum(1)


def found_at(shares, limits):
    return derive_within(
        CELLS, shares, {name: RELAXED[name] for name in limits}, [MODELS[name] for name in limits], limits
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.0, 1.0), st.floats(0.3, 5.0), st.sampled_from(["params", "macs", "both"]))
def test_what_is_found_keeps_the_limits_and_no_single_change_is_better(seed, quantile, sharpness, limited):
    rng = np.random.default_rng(seed)
    names = ["params", "macs"] if limited == "both" else [limited]
    anchor = CONNECTED.index(CONNECTED[int(rng.integers(len(CONNECTED)))])
    # The costs of one network, so that there is one which keeps both limits; or a quantile of all.
    limits = {
        name: float(COSTS[name][anchor] if limited == "both" else np.quantile(COSTS[name], quantile)) for name in names
    }
    feasible = np.flatnonzero(np.all([COSTS[name] <= limit for name, limit in limits.items()], axis=0))
    shares = shares_of(rng, sharpness=sharpness)
    found = found_at(shares, limits)
    assert found is not None and CELLS.connected(found)
    assert keeps(found, [MODELS[name] for name in names], limits)
    every = strengths(shares)
    near = [i for i in feasible if np.count_nonzero(DECISIONS[i] != np.array(found.decisions)) == 1]
    assert every[CONNECTED.index(found)] >= max((every[i] for i in near), default=-np.inf) - 1e-9
    if CELLS.derive(shares) in [CONNECTED[i] for i in feasible]:
        assert found == CELLS.derive(shares)


def test_it_is_the_strongest_of_all_or_nearly_so():
    rng, gaps = np.random.default_rng(0), []
    for _ in range(60):
        shares, limit = shares_of(rng), float(np.quantile(COSTS["params"], rng.uniform(0.02, 0.6)))
        every = strengths(shares)
        found = found_at(shares, {"params": limit})
        gaps.append(every[COSTS["params"] <= limit].max() - every[CONNECTED.index(found)])
    assert np.mean(np.array(gaps) < 1e-9) > 0.85 and max(gaps) < 0.5


def test_nothing_within_a_limit_below_the_cheapest_is_none():
    shares = shares_of(np.random.default_rng(0))
    assert found_at(shares, {"params": COSTS["params"].min() - 1}) is None
    assert found_at(shares, {"params": COSTS["params"].min()}) is not None


def test_a_table_may_know_better_than_its_relaxation():
    """Real costs lie above what the relaxed ones say: the bounds shrink until the limit is really kept."""
    rng, shares = np.random.default_rng(1), shares_of(np.random.default_rng(2))
    real = {cell.text: 1.2 * cost for cell, cost in zip(CONNECTED, COSTS["params"], strict=True)}
    model = TableCost("params", real)
    limit = 1.2 * float(np.quantile(COSTS["params"], 0.2))
    found = derive_within(CELLS, shares, {"params": RELAXED["params"]}, [model], {"params": limit})
    assert found is not None and real[found.text] <= limit
    drawn = [cell for cell in rng.choice(np.array(CONNECTED, object)[:, None][:, 0], 50) if real[cell.text] <= limit]
    every = dict(zip(CONNECTED, strengths(shares), strict=True))
    assert every[found] >= max(every[cell] for cell in drawn)


def test_a_cost_that_nobody_knows_is_kept_by_nothing():
    class Unknown(CostModel):
        metric = "params"

        def costs(self, architectures):
            return [Cost.missing("not known") for _ in architectures]

    shares = shares_of(np.random.default_rng(0))
    assert derive_within(CELLS, shares, {"params": RELAXED["params"]}, [Unknown()], {"params": 1e9}) is None


@pytest.mark.parametrize("quantile", [0.05, 0.5])
def test_networks_of_darts_are_cut_down_by_operations_and_by_sources(quantile):
    space = Darts(width=8, cells=3, resolution=8)
    model, rng = StaticCost("params", space), np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(200)]
    costs = np.array([cost.value for cost in model.costs(drawn)])
    limit = float(np.quantile(costs, quantile))
    relaxed = {"params": expected_cost(space, model)}
    for _ in range(5):
        shares = shares_of(rng, (8,) * 28)

        def strength(item, shares=shares):
            return sum(np.log(shares[row][choice]) for row, choice in space.chosen(item) if row < len(shares))

        found = derive_within(space, shares, relaxed, [model], {"params": limit})
        assert found is not None and keeps(found, [model], {"params": limit})
        assert strength(found) >= max(strength(item) for item, cost in zip(drawn, costs, strict=True) if cost <= limit)
        if keeps(space.derive(shares), [model], {"params": limit}):
            assert found == space.derive(shares)
