"""Seconds by decision: codes give what architectures give, expectations are exact, what is no code is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from hilnas.errors import UsageError
from predictors._by_decision import Parts, all_architectures, changed_once, checked_codes
from predictors.gradient_boosting import GradientBoosting
from predictors.lookup_table import LookupTable
from predictors.macs_baseline import MacsBaseline
from profiler._plan import load_space
from search_spaces._blocks import lookup_counts
from search_spaces._costs import block_costs, static_costs
from search_spaces.fbnet import OPERATIONS, FBNet
from search_spaces.nasbench201 import NasBench201

CHAIN = FBNet()
CELLS = NasBench201(width=4, depth=1, resolution=8)
TIMES = {block.key: 1e-5 + 1e-10 * block_costs(block).macs for block in CHAIN.blocks()}
NETWORKS = CHAIN.sample_distinct(40, seed=0)
OTHERS = CHAIN.sample_distinct(30, seed=1)


def latency_s(architecture):
    return 3e-4 + 0.9 * sum(n * TIMES[key] for key, n in lookup_counts(CHAIN.graph(architecture)).items())


SECONDS = [latency_s(item) for item in NETWORKS]


def codes_of(architectures):
    return np.array([item.decisions for item in architectures])


@pytest.fixture(scope="module", params=["lookup_table", "macs_baseline"])
def adding_up(request):
    if request.param == "macs_baseline":
        return MacsBaseline(CHAIN).fit(NETWORKS, SECONDS)
    return LookupTable(CHAIN, entries=TIMES, correction=False).fit(NETWORKS, SECONDS)


def test_codes_of_a_chain_are_predicted_as_networks(adding_up):
    np.testing.assert_allclose(adding_up.predict_codes(codes_of(OTHERS)), adding_up.predict(OTHERS).mean_s, rtol=1e-12)


def test_rows_that_are_added_up_are_those_of_the_networks(adding_up):
    parts = Parts.of(adding_up._inputs_of_fitted(adding_up.views_, changed_once(CHAIN)), CHAIN.cardinalities)
    rows = adding_up._inputs_of_fitted(adding_up.views_, OTHERS)
    np.testing.assert_allclose(parts.rows(codes_of(OTHERS)), rows, rtol=1e-12)


def test_a_table_of_a_chain_finds_the_law():
    table = LookupTable(CHAIN, entries=TIMES).fit(NETWORKS, SECONDS)
    np.testing.assert_allclose(table.predict_codes(codes_of(OTHERS)), [latency_s(item) for item in OTHERS], rtol=1e-6)


def test_what_is_below_the_floor_is_at_the_floor():
    """Times that rise so steeply that identities alone would take less than nothing."""
    macs = np.array([static_costs(CHAIN.graph(item)).macs for item in NETWORKS])
    times = (macs - 0.8 * macs.min()) * 1e-9
    fitted = MacsBaseline(CHAIN).fit(NETWORKS, times)
    fastest = [CHAIN.architecture((len(OPERATIONS) - 1,) * 22)]
    assert fitted.predict(fastest).mean_s[0] == pytest.approx(times.min() / 3)
    assert fitted.predict_codes(codes_of(fastest))[0] == fitted.predict(fastest).mean_s[0]
    assert fitted.expected_cost([np.eye(9)[-1]] * 22) < 0


def test_the_expectation_over_a_chain_is_exact(adding_up):
    """Over the 16 networks that two choices of four layers make."""
    rng = np.random.default_rng(0)
    layers, pairs = (0, 3, 12, 21), rng.integers(9, size=(4, 2))
    pairs[:, 1] = (pairs[:, 0] + 1 + rng.integers(8, size=4)) % 9
    shares = rng.uniform(size=4)
    probabilities = [np.eye(9)[item] for item in OTHERS[0].decisions]
    codes, weights = np.tile(OTHERS[0].decisions, (16, 1)), np.ones(16)
    for bit, (layer, pair, share) in enumerate(zip(layers, pairs, shares, strict=True)):
        probabilities[layer] = share * np.eye(9)[pair[0]] + (1 - share) * np.eye(9)[pair[1]]
        second = (np.arange(16) >> bit) & 1
        codes[:, layer] = pair[second]
        weights *= np.where(second, 1 - share, share)
    expected = weights @ adding_up.predict([CHAIN.architecture(tuple(row)) for row in codes.tolist()]).mean_s
    assert adding_up.expected_cost(probabilities) == pytest.approx(expected, rel=1e-12)
    tensors = [torch.tensor(item, requires_grad=True) for item in probabilities]
    cost = adding_up.expected_cost(tensors)
    cost.backward()
    assert float(cost.detach()) == pytest.approx(expected, rel=1e-12)
    single = np.tile(OTHERS[0].decisions, (9, 1))
    single[:, 5] = np.arange(9)
    seconds = adding_up.predict_codes(single)
    np.testing.assert_allclose(np.diff(tensors[5].grad.numpy()), np.diff(seconds), atol=1e-15)


@pytest.mark.parametrize("fitted", [
    GradientBoosting(CHAIN, rounds=0), LookupTable(CHAIN, entries=TIMES, correction=True)
])  # fmt: skip
def test_what_does_not_add_up_has_no_expectation_but_is_predicted(fitted):
    fitted.fit(NETWORKS, SECONDS)
    with pytest.raises(UsageError, match="too large for an exact expectation"):
        fitted.expected_cost([np.full(9, 1 / 9)] * 22)
    np.testing.assert_allclose(fitted.predict_codes(codes_of(OTHERS)), fitted.predict(OTHERS).mean_s, rtol=1e-9)


def test_a_new_fit_forgets_the_old_one():
    fitted = MacsBaseline(CHAIN).fit(NETWORKS, SECONDS)
    before = fitted.predict_codes(codes_of(OTHERS))
    fitted.fit(NETWORKS, np.array(SECONDS) * 2)
    np.testing.assert_allclose(fitted.predict_codes(codes_of(OTHERS)), 2 * before, rtol=1e-9)
    np.testing.assert_allclose(fitted.predict(OTHERS).mean_s, 2 * before, rtol=1e-9)


def test_every_cell_of_a_small_space_has_its_own_code():
    """Disconnected cells included: they are bounded, not learned."""
    cells = CELLS.sample_distinct(20, seed=0)
    fitted = MacsBaseline(CELLS).fit(cells, np.linspace(1e-3, 2e-3, 20))
    every = all_architectures(CELLS)
    chosen = [every[i] for i in (0, 1, 777, 15_624)]
    np.testing.assert_array_equal(fitted.predict_codes(codes_of(chosen)), fitted.predict(chosen).mean_s)
    assert fitted.predict_codes(np.zeros((1, 6), int))[0] == 1e-3
    assert fitted.predict_codes(np.zeros((0, 6), int)).shape == (0,)


def test_of_a_family_nothing_is_built_but_what_is_asked_for():
    family = load_space(str(Path(__file__).parents[1] / "fixtures" / "families" / "plain.toml"))
    members = list(family.enumerate())
    fitted = MacsBaseline(family).fit(members[:4], [1e-3, 2e-3, 3e-3, 4e-3])
    np.testing.assert_array_equal(fitted.predict_codes(codes_of(members[2:5])), fitted.predict(members[2:5]).mean_s)
    assert fitted._seconds is None


def test_nothing_is_predicted_before_fitting():
    with pytest.raises(NotFittedError):
        MacsBaseline(CELLS).predict_codes(np.zeros((1, 6), int))
    with pytest.raises(NotFittedError):
        MacsBaseline(CELLS).expected_cost([np.full(5, 0.2)] * 6)


@pytest.mark.parametrize("bad", [
    [[0, 3]], [[0, -1, 0]], [[0, 1, 2, 0]], [0, 1, 2], [[0.0, 1.0, 2.0]], [["a", "b", "c"]], []
])  # fmt: skip
def test_what_is_no_code_is_refused(bad):
    with pytest.raises(UsageError, match="no codes"):
        checked_codes(bad, (2, 3, 4))


@given(st.data())
def test_codes_inside_the_space_are_kept(data):
    shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    rows = data.draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in shape)), min_size=1, max_size=9))
    found = checked_codes(np.array(rows, dtype=np.uint8), shape)
    assert found.tolist() == [list(row) for row in rows]


@given(st.data())
def test_parts_are_put_together_as_they_were_taken_apart(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    own = [np.random.default_rng(i).normal(size=(n, 3)) for i, n in enumerate(shape)]

    def row(code):
        return 5.0 + sum(part[item] for part, item in zip(own, code, strict=True))

    first = (0,) * len(shape)
    once = [(*first[:i], item, *first[i + 1 :]) for i, n in enumerate(shape) for item in range(n)]
    parts = Parts.of(np.array([row(code) for code in (first, *once)]), shape)
    code = data.draw(st.tuples(*(st.integers(0, n - 1) for n in shape)))
    np.testing.assert_allclose(parts.rows(np.array([code]))[0], row(code), atol=1e-12)


def test_a_chain_has_choices_for_every_decision():
    assert CELLS.choices() == ()
    assert tuple(map(len, CHAIN.choices())) == CHAIN.cardinalities
