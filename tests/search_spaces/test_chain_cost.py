"""Expected costs of chains: exact for one network, exact for mixtures, and quick for whole spaces."""

import itertools
import math
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces._chain import merge
from search_spaces._costs import aops, aops_by_block, block_costs, static_costs
from search_spaces.mobilenet import Mobilenet
from search_spaces.quantised_cnn import QuantisedCnn

SPACES = {
    "quantised_cnn": QuantisedCnn(),
    "pooled": QuantisedCnn(width=8, pool=1, normalise=0),
    "filters": QuantisedCnn(width=16, filters=1),
    "mobilenet": Mobilenet(),
}


def by_key(block):
    """Return a latency that tells any two blocks apart: seconds in a table of blocks."""
    return zlib.crc32(block.key.encode()) / 2**32


def costs_of(space):
    return {
        "macs": lambda block: block_costs(block).macs,
        "params": lambda block: block_costs(block).params,
        "aops": aops_by_block(space.blocks()),
        "table": by_key,
    }


def of_graph(space, architecture, cost):
    return math.fsum(n * cost(block) for block, n in space.graph(architecture).block_counts.items())


def one_hot(space, sub, architecture):
    pairs = zip(sub.layers, space.split(architecture), strict=True)
    return [np.array([float(item == own) for item in layer]) for layer, own in pairs]


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


@pytest.mark.parametrize("metric", ["macs", "params", "aops", "table"])
def test_the_cost_of_one_network_is_its_own(space, metric):
    cost = costs_of(space)[metric]
    whole = space.whole()
    found = space.chain_cost(whole, cost)
    rng = np.random.default_rng(0)
    for architecture in (space.sample(rng) for _ in range(20)):
        assert found.of(one_hot(space, whole, architecture)) == pytest.approx(
            of_graph(space, architecture, cost), rel=0 if metric != "table" else 1e-12
        )


def test_static_costs_are_those_of_the_graph(space):
    whole, costs = space.whole(), costs_of(space)
    found = {name: space.chain_cost(whole, costs[name]) for name in ("macs", "params", "aops")}
    rng = np.random.default_rng(1)
    for architecture in (space.sample(rng) for _ in range(10)):
        graph, shares = space.graph(architecture), one_hot(space, whole, architecture)
        own = static_costs(graph)
        assert {name: cost.of(shares) for name, cost in found.items()} == {
            "macs": own.macs,
            "params": own.params,
            "aops": aops(graph),
        }


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32), st.sampled_from(["macs", "params", "aops", "table"]))
def test_the_expectation_is_that_over_all_networks(name, seed, metric):
    """Up to 3 candidates in some layers: every network of the sub-space, weighted with the product of its shares."""
    space, rng = SPACES[name], np.random.default_rng(seed)
    drawn = [space.split(space.sample(rng)) for _ in range(3)]
    varied = set(rng.permutation(len(drawn[0]))[:5].tolist())
    tied = [space.of_layers(item[i] if i in varied else drawn[0][i] for i in range(len(item))) for item in drawn]
    sub, cost = merge(space, tied, "tuple"), costs_of(space)[metric]
    shares = [rng.dirichlet(np.ones(len(layer))) for layer in sub.layers]
    expected = []
    for choices in itertools.product(*(range(len(layer)) for layer in sub.layers)):
        architecture = space.of_layers(layer[i] for layer, i in zip(sub.layers, choices, strict=True))
        weight = math.prod(row[i] for row, i in zip(shares, choices, strict=True))
        expected.append(weight * of_graph(space, architecture, cost))
    assert len(expected) == sub.networks
    assert space.chain_cost(sub, cost).of(shares) == pytest.approx(math.fsum(expected), rel=1e-9)


def test_neighbours_matter_where_bits_that_are_read_do():
    """By hand: 7 or 2 bits of the first layer's result, read by the second, whose weights have 4."""
    space = SPACES["quantised_cnn"]
    rest = "+".join(["k1a1.1w1.3"] * 5)
    sub = merge(space, [space.parse(f"{first}+{rest}") for first in ("k1a1.6w1.1", "k1a1.1w1.1")], "tuple")
    found = space.chain_cost(sub, aops_by_block(space.blocks()))
    macs = 16 * 16 * 64 * 64
    assert [None if pair is None else pair.shape for pair in found.pairs] == [(2, 1), None, None, None, None]
    assert found.pairs[0].ravel().tolist() == [macs * 7 * 4, macs * 2 * 4]
    assert found.rows[0].tolist() == [32 * 32 * 3 * 64 * 16 * 2] * 2
    assert found.rows[1].tolist() == [0.0]
    plain = space.chain_cost(sub, lambda block: block_costs(block).macs)
    assert plain.pairs == (None,) * 5
    assert plain.fixed == 0 and plain.rows[-1][0] == 4 * 4 * 256 * 256 + 4096 * 1024 + 1024 * 10


def test_what_stands_around_the_layers_counts():
    space = SPACES["mobilenet"]
    found = space.chain_cost(space.whole(), lambda block: float(block.kind in ("stem", "k3e1")))
    assert found.fixed == 2 and not any(row.any() for row in found.rows)
    found = space.chain_cost(space.whole(), lambda block: float(block.kind == "head1280"))
    assert found.fixed == 0 and [row.tolist() for row in found.rows] == [[0.0] * 6] * 20 + [[1.0] * 6]


def test_what_the_head_reads_counts():
    """The head reads the bits of the last layer's result."""
    space = SPACES["quantised_cnn"]
    found = space.chain_cost(space.whole(), lambda block: block.inputs[0].bits if block.kind == "head" else 0)
    bits = [space.layers(space.of_layers([item] * 6))[-1].activations.bits for item in space.whole().layers[-1]]
    assert found.rows[-1].tolist() == bits and len(set(bits)) == 5
    assert found.pairs == (None,) * 5


def test_a_block_is_asked_for_once(space):
    asked = []
    space.chain_cost(space.whole(), lambda block: asked.append(block) or 1.0)
    assert len(asked) == len(set(asked)) and set(asked) == set(space.blocks())


def test_whole_spaces_are_quick(space):
    began = time.perf_counter()
    space.chain_cost(space.whole(), aops_by_block(space.blocks()))
    assert time.perf_counter() - began < 2


def test_adjusted_operations_of_blocks_add_up_in_float_as_well():
    """Without low-bit weights every layer counts, the head as well; with them it does not."""
    mobile, quantised = SPACES["mobilenet"], SPACES["quantised_cnn"]
    assert aops_by_block(mobile.blocks())(mobile.blocks()[-1]) == 1024 * block_costs(mobile.blocks()[-1]).macs > 0
    assert aops_by_block(quantised.blocks())(quantised.blocks()[-1]) == 0
