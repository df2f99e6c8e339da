"""The contract of a metric, over every one that is found."""

import pytest

from hilnas import plugins
from hilnas.errors import UsageError
from hilnas.units import UNITS
from profiler.metrics._base import Metric
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
GRAPH = SPACE.graph(SPACE.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"))


@pytest.mark.parametrize("name", plugins.names("profiler.metrics"))
def test_a_metric_says_its_unit_and_comes_from_the_graph_or_from_a_device(name):
    metric = plugins.load("profiler.metrics", name, Metric)()
    assert metric.dimension in UNITS and metric.description and metric.stored_as.startswith(name)
    if metric.measured:
        with pytest.raises(UsageError):
            metric.of_graph(GRAPH)
    else:
        assert metric.of_graph(GRAPH) > 0
