"""What every evaluator and every zero-cost indicator keeps to, run over all that are found."""

import inspect
import json
import math

import numpy as np
import pytest

from hilnas import plugins
from hilnas.errors import UsageError
from search_spaces._base import SearchSpace
from searchers.evaluators._base import Evaluator
from searchers.evaluators.zero_cost import ZeroCost
from searchers.evaluators.zero_cost._base import Indicator

EVALUATORS = plugins.names("searchers.evaluators")
INDICATORS = plugins.names("searchers.evaluators.zero_cost")
#: Options that make networks small where a space has them.
SMALL = {"width": 4, "depth": 1, "resolution": 16}
#: Settings that make indicators quick where they have them.
QUICK = {"batch": 6, "repeats": 1, "points": 12, "draws": 3}
#: Options that make evaluators quick.
EASY = {"trained": {"images": 60, "epochs": 1, "batch": 20}}


def small_space(name):
    kind = plugins.load("search_spaces", name, SearchSpace)
    known = inspect.signature(kind).parameters
    return kind(**{option: value for option, value in SMALL.items() if option in known})


@pytest.fixture(params=plugins.names("search_spaces"))
def space(request):
    return small_space(request.param)


@pytest.fixture(params=INDICATORS)
def zero_cost(request, space):
    return quick(space, request.param)


def quick(space, indicator):
    kind = plugins.load("searchers.evaluators.zero_cost", indicator, Indicator)
    settings = {option: QUICK[option] for option in inspect.signature(kind).parameters if option in QUICK}
    return ZeroCost(space, indicator=indicator, settings=settings)


def sample(space, n=3):
    return space.sample_distinct(n, seed=5)


def disconnected(space):
    """Return an architecture whose output ignores its input, None where the space has none."""
    try:
        return next((item for item in space.enumerate() if not space.graph(item).connected), None)
    except UsageError:
        return None


def same_skips(graphs):
    """Return whether there are no sums, or what reads what is the same in all graphs."""
    sums = any(operator.kind == "add" for graph in graphs for _, operator in graph.operators)
    wirings = {tuple((*call[::2], op.kind, op.inputs) for call, op in graph.operators) for graph in graphs}
    return not sums or len(wirings) == 1


def check_scores(scores, n):
    assert len(scores) == n
    for score in scores:
        assert not math.isnan(score.value)
        assert (score.value == -math.inf) == (score.cause is not None)


def test_what_part_one_needs_is_found():
    assert {"tabular", "zero_cost"} <= set(EVALUATORS)
    assert {"cj", "nlr", "cnntk", "os", "nwot", "jacov", "synflow", "logsynflow", "macs", "live_macs"} <= set(
        INDICATORS
    )


@pytest.mark.parametrize("name", EVALUATORS)
def test_an_evaluator_works_with_its_defaults(name, space):
    evaluator = plugins.load("searchers.evaluators", name, Evaluator)(space, **EASY.get(name, {}))
    architectures = sample(space)
    check_scores(evaluator.evaluate(architectures), len(architectures))
    assert evaluator.evaluate([]) == []
    assert evaluator.cost
    assert evaluator.unit
    json.dumps(evaluator.describe(), allow_nan=False)


@pytest.mark.parametrize("name", EVALUATORS)
def test_a_disconnected_network_has_no_score_but_a_cause(name, space):
    architecture = disconnected(space)
    if architecture is None:
        pytest.skip(f"every architecture of {space.name} is connected, or they are too many to look")
    evaluator = plugins.load("searchers.evaluators", name, Evaluator)(space, **EASY.get(name, {}))
    (score,) = evaluator.evaluate([architecture])
    assert score.value == -math.inf
    assert "does not depend on the input" in score.cause


def test_an_indicator_scores_connected_networks_reproducibly(zero_cost, space):
    architectures = sample(space)
    scores = zero_cost.evaluate(architectures)
    check_scores(scores, len(architectures))
    assert all(score.cause is None for score in scores)
    again = quick(space, zero_cost.describe()["score"])
    assert again.evaluate(list(reversed(architectures))) == list(reversed(scores))


def test_an_indicator_tells_networks_apart(zero_cost, space):
    architectures = sample(space, 8)
    if zero_cost.describe()["score"] == "skip_span" and same_skips([space.graph(item) for item in architectures]):
        pytest.skip(f"{space.name} has no skip connections, or all its networks have the same")
    scores = zero_cost.evaluate(architectures)
    assert len({score.value for score in scores}) > 1


def test_scoring_leaves_the_callers_generators_alone(zero_cost, space):
    import torch

    torch.manual_seed(1)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    legacy = np.random.get_state()[1].tolist()
    zero_cost.evaluate(sample(space, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert np.random.get_state()[1].tolist() == legacy


@pytest.mark.parametrize("name", INDICATORS)
def test_settings_build_the_same_indicator(name):
    kind = plugins.load("searchers.evaluators.zero_cost", name, Indicator)
    built = kind()
    assert kind(**built.settings).settings == built.settings
    json.dumps(built.settings, allow_nan=False)
    assert built.cost
    for option in inspect.signature(kind).parameters.values():
        assert option.kind is option.KEYWORD_ONLY
        assert isinstance(option.default, int | float | bool | str)
