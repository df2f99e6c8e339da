"""The contract of a metric, over every one that is found."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas import plugins
from hilnas.errors import UsageError
from hilnas.units import UNITS
from profiler._metrics import dimensions, metric_of, metrics, name_of, static_names, stored_names
from profiler.metrics._base import Metric
from search_spaces.darts import Darts
from search_spaces.nasbench201 import NasBench201
from search_spaces.quantised_cnn import QuantisedCnn

SPACE = NasBench201()
GRAPH = SPACE.graph(SPACE.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"))
NAMES = plugins.names("profiler.metrics")
#: The ending of the stored name, which is its SI unit; a count has none.
ENDINGS = {"time": "_s", "energy": "_j", "bytes": "_bytes", "power": "_w", "rate": "_hz"}


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_says_its_unit_and_comes_from_the_graph_or_from_a_device(name):
    metric = plugins.load("profiler.metrics", name, Metric)()
    assert metric.dimension in UNITS and metric.description and metric.direction in ("lower", "higher")
    if metric.dimension == "count":
        assert metric.stored_as == name
    else:
        assert metric.stored_as.endswith(ENDINGS[metric.dimension])
    if metric.measured:
        with pytest.raises(UsageError):
            metric.of_graph(GRAPH)
    else:
        assert metric.of_graph(GRAPH) > 0


@given(st.sampled_from(NAMES), st.lists(st.floats(0, 1e12), min_size=1, max_size=9))
def test_what_invocations_say_together_is_between_what_each_says(name, values):
    assert min(values) <= metrics()[name].combine(values) <= max(values)


def test_the_registry_knows_every_metric_by_both_of_its_names():
    assert set(dimensions()) == set(stored_names()) == set(NAMES) >= {"latency", "energy", "memory", "macs"}
    assert len(set(stored_names().values())) == len(NAMES), "two metrics with one stored name"
    assert {"macs", "params"} <= set(static_names()) and not {"latency", "energy"} & set(static_names())
    assert metric_of("energy_j") is metrics()["energy"] and name_of("peak_bytes") == "memory"
    assert metric_of("sm_clock_hz") is None and name_of("sm_clock_hz") == "sm_clock_hz"


@pytest.mark.parametrize("space", [SPACE, Darts(cells=3), QuantisedCnn()], ids=lambda space: space.name)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_block_adds_sums_up_to_the_graph(name, space):
    metric = metrics()[name]
    rng = np.random.default_rng(0)
    for graph in (space.graph(space.sample(rng)) for _ in range(3)):
        terms = [metric.of_block(block) for block in graph.block_counts]
        if None in terms:
            assert set(terms) == {None}, "of every block or of none"
            continue
        counts = graph.block_counts.values()
        assert math.fsum(n * term for n, term in zip(counts, terms, strict=True)) == metric.of_graph(graph)
