"""Expectations of relaxed architectures, and the Lagrangian that searches among them."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from searchers._relaxation import KernelModel, Table, constrained_ascent

SIZES = (3, 2, 4)
EVERYTHING = np.array(list(product(*map(range, SIZES))))


def relaxed(rng, batch=2):
    """Return random distributions, padded with zeros where a decision has fewer choices."""
    found = np.zeros((batch, len(SIZES), max(SIZES)))
    for decision, size in enumerate(SIZES):
        found[:, decision, :size] = rng.dirichlet(np.ones(size), batch)
    return found


def weights_of(probabilities):
    """Return how likely each architecture is, (batch, architectures), one by one."""
    return np.array(
        [[np.prod([row[d, item[d]] for d in range(len(SIZES))]) for item in EVERYTHING] for row in probabilities]
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_a_table_gives_the_expectation_over_all_architectures(seed):
    rng = np.random.default_rng(seed)
    values, probabilities = rng.normal(size=SIZES), relaxed(rng)
    expected = weights_of(probabilities) @ values.ravel()
    assert Table(values).expected(torch.tensor(probabilities)).numpy() == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_a_kernel_model_gives_the_expectation_of_its_own_predictions(seed):
    rng = np.random.default_rng(seed)
    known = EVERYTHING[rng.choice(len(EVERYTHING), 12, replace=False)]
    model = KernelModel(known, rng.normal(size=12), max(SIZES), np.array([-1.0, 0.0, 2.0, -3.0]), fit=False)
    probabilities = relaxed(rng)
    expected = weights_of(probabilities) @ model.predict(EVERYTHING)[0]
    assert model.expected(torch.tensor(probabilities)).numpy() == pytest.approx(expected)


def test_a_kernel_model_learns_which_decision_matters():
    rng = np.random.default_rng(0)
    known = EVERYTHING[rng.permutation(len(EVERYTHING))[:16]]
    model = KernelModel(known, 10.0 * known[:, 2] + 100, max(SIZES))
    shared = model.parameters[:-1]
    assert shared[2] < shared[0] and shared[2] < shared[1]
    means, deviations = model.predict(EVERYTHING)
    assert model.mean + model.deviation * means == pytest.approx(10.0 * EVERYTHING[:, 2] + 100, abs=1.0)
    assert model.standardised(model.mean + model.deviation) == pytest.approx(1.0)
    assert (deviations > 0).all()


def test_equal_values_are_no_problem():
    model = KernelModel(EVERYTHING[:5], np.full(5, 3.0), max(SIZES))
    assert np.abs(model.predict(EVERYTHING)[0]).max() < 1e-3


def ascend(objective, cost, bounds, steps=300):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 0.1, (len(bounds), len(SIZES), max(SIZES)))
    logits[:, np.arange(max(SIZES)) >= np.array(SIZES)[:, None]] = -np.inf
    return constrained_ascent(
        Table(objective), [Table(cost)], torch.tensor(bounds)[:, None], torch.tensor(logits),
        steps=steps, learning_rate=0.1, multiplier_rate=0.1,
    )  # fmt: skip


def test_the_multiplier_pulls_the_expected_cost_under_the_bound_and_rests_where_there_is_room():
    cost = np.array([1.0 + item.sum() for item in EVERYTHING]).reshape(SIZES)
    probabilities, multipliers = ascend(2.0 * cost, cost, [3.0, 100.0], steps=1500)
    expected = Table(cost).expected(torch.tensor(probabilities)).numpy()
    assert expected[0] <= 3.0 * 1.02
    assert expected[1] == pytest.approx(cost.max(), rel=0.02)
    assert multipliers[0, 0] > 1.0 and multipliers[1, 0] == 0.0


def test_choices_that_do_not_exist_are_never_likely():
    cost = np.ones(SIZES)
    probabilities, _ = ascend(np.random.default_rng(1).normal(size=SIZES), cost, [1.0])
    assert probabilities.sum(-1) == pytest.approx(1.0)
    assert probabilities[0, 0, 3] == 0.0 and (probabilities[0, 1, 2:] == 0.0).all()


@pytest.mark.parametrize(
    "seed, at_limit, lowest", [(4, "exceeds", "best"), (1, "best", "worse"), (5, "exceeds", "worse")]
)
def test_what_is_derived_costs_something_else_than_its_relaxation_so_bounds_come_from_a_grid(seed, at_limit, lowest):
    cost = np.array([1.0, 10.0, 2.0, 11.0, 2.5, 12.0, 3.0, 30.0] * 3).reshape(SIZES)
    objective, limit = np.random.default_rng(seed).normal(size=SIZES) + 0.2 * cost, 8.0
    probabilities, _ = ascend(objective, cost, np.linspace(0.5, 1.5, 9) * limit)
    derived = [tuple(item) for item in probabilities.argmax(-1)]
    best = np.where(cost <= limit, objective, -np.inf).max()
    found = ["exceeds" if cost[item] > limit else "best" if objective[item] == best else "worse" for item in derived]
    assert (found[4], found[0]) == (at_limit, lowest)
    assert any(verdict != "exceeds" for verdict in found)
