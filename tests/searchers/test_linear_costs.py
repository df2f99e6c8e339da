"""Expected costs of chains from models of costs: exact for what is counted and for sums, else of the best sum."""

import numpy as np
import pytest
import torch

from hilnas.errors import UsageError
from search_spaces._chain import merge
from search_spaces.mobilenet import Mobilenet
from search_spaces.quantised_cnn import QuantisedCnn
from searchers._cost_models import Cost, CostModel, StaticCost
from searchers._linear_costs import chain_expectation, linear_chain_cost

SPACES = {"quantised_cnn": QuantisedCnn(width=4, resolution=8), "mobilenet": Mobilenet(width=10, resolution=32)}


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


class Scripted(CostModel):
    """A cost that is a function of an architecture."""

    metric = "latency"

    def __init__(self, function):
        self._function = function

    def costs(self, architectures):
        values = [self._function(item) for item in architectures]
        return [Cost.missing("not known") if value is None else Cost.exact(value) for value in values]


def sub_space(space, n=3):
    return merge(space, [space.sample(np.random.default_rng(i)) for i in range(n)], "tuple")


def inside(space, sub, n=8):
    """Return random networks of a sub-space, and the shares that say so."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        picked = [int(rng.integers(len(row))) for row in sub.layers]
        yield (
            space.of_layers(row[i] for row, i in zip(sub.layers, picked, strict=True)),
            [torch.eye(len(row), dtype=torch.float64)[i] for row, i in zip(sub.layers, picked, strict=True)],
        )


@pytest.mark.parametrize("metric", ["macs", "params", "aops"])
def test_counts_are_exact(space, metric):
    sub, model = sub_space(space), StaticCost(metric, space)
    found = chain_expectation(space, sub, model)
    for architecture, shares in inside(space, sub):
        assert float(found.of(shares)) == pytest.approx(model.costs([architecture])[0].value, rel=1e-12)


def test_a_sum_over_decisions_is_found(space):
    worth = np.random.default_rng(1).random(sum(space.cardinalities)) * 1e-3
    model = Scripted(lambda item: 5e-3 + float(space.encode(item) @ worth))
    sub = sub_space(space)
    found = linear_chain_cost(space, sub, model)
    assert all(pair is None for pair in found.pairs)
    for architecture, shares in inside(space, sub):
        assert found.of([row.numpy() for row in shares]) == pytest.approx(
            model.costs([architecture])[0].value, rel=1e-4
        )


def test_any_other_cost_is_approached(space):
    macs = StaticCost("macs", space)
    model = Scripted(lambda item: 1e-3 + 1e-9 * macs.costs([item])[0].value ** 1.1)
    sub = sub_space(space, 6)
    found = chain_expectation(space, sub, model)
    pairs = [(float(found.of(shares)), model.costs([item])[0].value) for item, shares in inside(space, sub, 40)]
    assert np.corrcoef(np.array(pairs).T)[0, 1] > 0.9


def test_unknown_networks_are_left_out_and_too_few_known_ones_refused():
    space = SPACES["quantised_cnn"]
    sub = sub_space(space)
    some = Scripted(lambda item: None if item.decisions[0] == 0 else 1e-3 * (1 + item.decisions[1]))
    found = linear_chain_cost(space, sub, some)
    for architecture, shares in inside(space, sub):
        if architecture.decisions[0]:
            assert found.of([row.numpy() for row in shares]) == pytest.approx(
                some.costs([architecture])[0].value, rel=1e-3
            )
    with pytest.raises(UsageError, match="have a known latency"):
        linear_chain_cost(space, sub, Scripted(lambda item: 1e-3 if item.decisions[0] == 0 else None))
