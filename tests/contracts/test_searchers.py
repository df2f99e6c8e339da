"""What every searcher keeps to, run over every searcher and space found."""

import json
import math
from itertools import islice

import pytest

from hilnas import plugins
from hilnas.records import Constraint
from search_spaces._base import SearchSpace
from searchers._base import Searcher
from searchers._problem import Evaluation, Problem

SEARCHERS = plugins.names("searchers")
SPACES = plugins.names("search_spaces")
LIMIT = Constraint("latency", 0.5)


@pytest.fixture(params=SPACES)
def space(request):
    return plugins.load("search_spaces", request.param, SearchSpace)()


@pytest.fixture(params=SEARCHERS)
def kind(request):
    return plugins.load("searchers", request.param, Searcher)


def new(kind, space, seed=3, evaluations=40):
    return kind(space, Problem(space.name, (LIMIT,), evaluations, seed))


def evaluated(architecture):
    """Return an evaluation that depends on the decisions alone; every fifth candidate fails."""
    total = sum((i + 1) * decision for i, decision in enumerate(architecture.decisions))
    if total % 5 == 0:
        return Evaluation(architecture, None, {}, {}, False, "scripted failure")
    cost = {"latency": (total % 7 + 1) / 7}
    return Evaluation(architecture, -float(total), cost, cost, cost["latency"] <= LIMIT.limit)


def drive(searcher, steps):
    """Return what a searcher suggests over some steps, each followed by an update."""
    suggested = []
    for _ in range(steps):
        batch = searcher.suggest(searcher.batch)
        searcher.update([evaluated(item) for item in batch])
        suggested += batch
    return suggested


def test_at_least_the_two_of_part_one_are_found():
    assert {"random_search", "latency_reward_rl"} <= set(SEARCHERS)


def test_suggests_as_many_as_asked_and_all_in_the_space(kind, space):
    for n in (1, 7):
        batch = new(kind, space).suggest(n)
        assert len(batch) == n
        assert all(space.architecture(item.decisions) == item and item.space == space.name for item in batch)


def test_the_same_seed_gives_the_same_suggestions_and_another_seed_others(kind, space):
    first, again, other = (drive(new(kind, space, seed), 6) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_a_loaded_state_goes_on_as_the_original_would(kind, space):
    original = new(kind, space)
    drive(original, 5)
    text = json.dumps(original.state(), allow_nan=False)
    copy = new(kind, space)
    copy.load_state(json.loads(text))
    assert drive(copy, 5) == drive(original, 5)
    assert json.dumps(copy.state()) == json.dumps(original.state())


def test_taking_the_state_changes_nothing(kind, space):
    watched, plain = new(kind, space), new(kind, space)
    watched.state()
    first = drive(watched, 2)
    watched.state()
    assert first + drive(watched, 2) == drive(plain, 4)


def test_failures_alone_do_not_stop_it(kind, space):
    searcher = new(kind, space)
    for _ in range(4):
        batch = searcher.suggest(searcher.batch)
        searcher.update([Evaluation(item, None, {}, {}, False, "nothing works") for item in batch])
    assert len(searcher.suggest(2)) == 2


def test_rewards_are_finite_and_one_per_evaluation(kind, space):
    searcher = new(kind, space)
    for _ in range(5):
        batch = searcher.suggest(searcher.batch)
        searcher.update([evaluated(item) for item in batch])
        rewards = searcher.last_rewards
        assert len(rewards) in (0, len(batch))
        assert all(reward is None or math.isfinite(reward) for reward in rewards)


def test_an_empty_update_is_harmless(kind, space):
    searcher = new(kind, space)
    searcher.update([])
    assert searcher.suggest(1)


def test_options_are_keywords_with_plain_defaults(kind):
    import inspect

    parameters = list(inspect.signature(kind).parameters.values())
    assert [item.name for item in islice(parameters, 2)] == ["space", "problem"]
    for option in parameters[2:]:
        assert option.kind is option.KEYWORD_ONLY
        assert isinstance(option.default, int | float | bool | str)
