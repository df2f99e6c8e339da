"""Expected costs of supernets: exact for counts and tables, honest about what is no sum."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilnas.errors import UsageError
from search_spaces.darts import Darts
from search_spaces.nasbench201 import NasBench201
from searchers._cost_models import Cost, CostModel, StaticCost, TableCost
from searchers._expected_cost import ExpectedCost, TableExpectation, expected_cost

SPACES = {
    "darts": Darts(width=8, cells=3, resolution=8),
    "nasbench201": NasBench201(width=4, depth=2, resolution=8),
}
CELLS = list(SPACES["nasbench201"].enumerate())


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


def rows_of(space):
    return [len(row) for row in space.row_costs(lambda block: 0.0)[1]]


def hard(space, architecture):
    """Return shares that are all 1 for what an architecture keeps and 0 for the rest."""
    found = [torch.zeros(n, dtype=torch.float64) for n in rows_of(space)]
    for row, choice in space.chosen(architecture):
        if row < len(found):
            found[row][choice] = 1.0
    return found


def random_shares(space, rng):
    return [torch.from_numpy(rng.dirichlet(np.ones(n))) for n in rows_of(space)]


class Scripted(CostModel):
    """A cost that is a function of an architecture."""

    metric = "latency"

    def __init__(self, function):
        self._function = function

    def costs(self, architectures):
        values = [self._function(item) for item in architectures]
        return [Cost.missing("not known") if value is None else Cost.exact(value) for value in values]


@pytest.mark.parametrize("metric", ["params", "macs"])
def test_what_is_counted_is_exact_for_one_network(space, metric):
    model = StaticCost(metric, space)
    found = expected_cost(space, model)
    rng = np.random.default_rng(0)
    for architecture in (space.sample(rng) for _ in range(25)):
        assert found.of(hard(space, architecture)).item() == model.costs([architecture])[0].value
    assert found.explained == 1.0


def test_what_is_counted_is_the_mean_over_networks():
    space = SPACES["nasbench201"]
    model, rng = StaticCost("params", space), np.random.default_rng(1)
    shares = random_shares(space, rng)
    drawn = [space.architecture(tuple(int(rng.choice(5, p=row.numpy())) for row in shares[:6])) for _ in range(4000)]
    values = np.array([cost.value for cost in model.costs(drawn)])
    assert expected_cost(space, model).of(shares).item() == pytest.approx(
        values.mean(), abs=4 * values.std() / math.sqrt(len(values))
    )


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_a_table_is_expected_exactly(seed):
    rng = np.random.default_rng(seed)
    values = rng.lognormal(size=len(CELLS))
    table = TableCost("latency", {cell.text: value for cell, value in zip(CELLS, values, strict=True)})
    found = expected_cost(SPACES["nasbench201"], table)
    assert isinstance(found, TableExpectation) and found.explained == 1.0
    shares = random_shares(SPACES["nasbench201"], rng)
    likely = np.array([math.prod(item) for item in itertools.product(*(row.tolist() for row in shares[:6]))])
    assert found.of(shares).item() == pytest.approx(float(likely @ values), rel=1e-9)
    # Rows beyond the decisions (shares of edges) cost nothing.
    assert found.of([*shares, torch.ones(3) / 3]).item() == found.of(shares).item()


def test_the_gradient_of_a_table_says_what_a_choice_costs():
    space, rng = SPACES["nasbench201"], np.random.default_rng(2)
    values = rng.lognormal(size=len(CELLS))
    table = TableCost("latency", {cell.text: value for cell, value in zip(CELLS, values, strict=True)})
    found = expected_cost(space, table)
    shares = [row.requires_grad_() for row in random_shares(space, rng)]
    (gradient,) = torch.autograd.grad(found.of(shares), shares[4])
    fixed = [row.detach() for row in shares]
    for choice in range(5):
        fixed[4] = torch.eye(5, dtype=torch.float64)[choice]
        assert gradient[choice].item() == pytest.approx(found.of(fixed).item())


def test_any_other_cost_is_the_sum_that_fits_it(space):
    rng = np.random.default_rng(3)
    weights = [rng.uniform(0.0, 1.0, n) for n in rows_of(space)]
    noise = np.random.default_rng(4)

    def additive(architecture):
        kept = [weights[row][choice] for row, choice in space.chosen(architecture) if row < len(weights)]
        return 5.0 + sum(kept) + noise.normal(0.0, 0.05)

    found = expected_cost(space, Scripted(additive))
    assert isinstance(found, ExpectedCost) and 0.9 < found.explained <= 1.0
    unseen = [space.sample(rng) for _ in range(50)]
    errors = [found.of(hard(space, item)).item() - additive(item) for item in unseen]
    assert np.std(errors) < 0.15


def test_a_cost_that_is_no_sum_says_so(space):
    found = expected_cost(space, Scripted(lambda item: float(sum(item.decisions) % 2)))
    assert found.explained < 0.2, "over networks that it was not fitted to"


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1234.567])
def test_a_cost_that_is_always_the_same_is_explained(space, value):
    after = math.nextafter(value, math.inf) if value else value  # but for rounding
    found = expected_cost(
        space, Scripted(lambda item: after if item.decisions[0] % 2 == item.decisions[1] % 2 else value)
    )
    assert found.explained == pytest.approx(1.0, abs=1e-6)
    assert found.of(hard(space, space.sample(np.random.default_rng(0)))).item() == pytest.approx(value)


def test_gaps_in_what_is_known_are_left_out(space):
    found = expected_cost(space, Scripted(lambda item: None if sum(item.decisions) % 3 == 0 else 1.0 + len(item.text)))
    assert math.isfinite(found.explained) and isinstance(found, ExpectedCost)


def test_costs_that_hardly_any_network_has_are_refused(space):
    with pytest.raises(UsageError, match=f"too few networks of {space.name} have a known latency: 0 of 700"):
        expected_cost(space, Scripted(lambda item: None))
