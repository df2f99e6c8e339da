"""What is derived of shares: a network that depends on its input, and its skips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.darts import Darts
from search_spaces.nasbench201 import OPERATIONS, NasBench201

SPACE = NasBench201()
CONNECTED = np.array([cell.decisions for cell in SPACE.enumerate() if SPACE.connected(cell)])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.0, 0.95))
def test_the_strongest_connected_cell_is_derived(seed, nothing):
    rng = np.random.default_rng(seed)
    # With much weight on none the strongest operations often leave no path.
    shares = [(1 - nothing) * rng.dirichlet(np.ones(5)) + nothing * np.eye(5)[0] for _ in range(6)]
    found = SPACE.derive(shares)
    assert SPACE.connected(found)
    strengths = np.log(np.array(shares))[np.arange(6), CONNECTED].sum(1)
    assert found.decisions == tuple(CONNECTED[strengths.argmax()].tolist())


def test_shares_of_nothing_but_none_derive_a_path():
    shares = [np.eye(5)[0] for _ in range(6)]
    assert SPACE.connected(SPACE.derive(shares))
    shares[3] = np.array([0.6, 0.3, 0.05, 0.03, 0.02])
    # The edge from the input to the output is the only one with anything else.
    assert SPACE.derive(shares).decisions == (0, 0, 0, 1, 0, 0)


def test_rows_of_edges_decide_no_operation():
    shares = [np.eye(5)[2] for _ in range(6)]
    rows = [*shares, np.ones(1), np.array([0.9, 0.1]), np.array([0.1, 0.2, 0.7])]
    assert SPACE.derive(rows) == SPACE.derive(shares)


@pytest.mark.parametrize(
    ("decisions", "skips"), [((1, 1, 1, 1, 1, 1), 6), ((0, 2, 3, 4, 2, 3), 0), ((1, 0, 2, 1, 3, 1), 3)]
)
def test_skips_of_a_cell(decisions, skips):
    assert SPACE.skips(SPACE.architecture(decisions)) == skips
    assert SPACE.architecture(decisions).text.count(OPERATIONS[1]) == skips


def test_skips_of_darts_are_those_of_the_normal_cell():
    space = Darts()
    rng = np.random.default_rng(0)
    for architecture in (space.sample(rng) for _ in range(20)):
        normal = space.genotype(architecture).partition("reduce")[0]
        assert space.skips(architecture) == normal.count("skip_connect")
