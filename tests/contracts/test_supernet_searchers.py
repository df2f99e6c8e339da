"""What every search on pictures keeps to, run over every one found, in the first small space that it can search."""

import json
from dataclasses import replace

import pytest

from hilnas import plugins
from hilnas.errors import UsageError
from search_spaces._base import SearchSpace
from searchers._cost_models import StaticCost
from searchers._expected_cost import expected_cost
from searchers._options import option_defaults
from searchers.supernets._base import GradientSearcher, Pictures, Task

PACKAGE = "searchers.supernets"
NAMES = plugins.names(PACKAGE)
#: Train supernets of whole spaces of layers: minutes where others take seconds.
LARGE = {"dnas", "one_shot"}
SEARCHERS = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in NAMES]
#: Every space with pictures to read, as small as it gets; all of them are tried.
SMALL_SPACES = {
    "nasbench201": {"width": 4, "depth": 1, "resolution": 8},
    "darts": {"width": 8, "cells": 3, "resolution": 8},
    "quantised_cnn": {"width": 4, "resolution": 8},
    "mobilenet": {"width": 10, "resolution": 32, "halvings": 2},
}
#: Of the options that a search has.
SMALL = {
    "epochs": 2,
    "batch": 15,
    "checkpoint_steps": 1,
    "bounds": 2,
    "share_rate": 0.1,
    "short_epochs": 1,
    "full_epochs": 1,
    "dnas_epochs": 1,
    "rounds": 1,
    "episodes": 2,
    "samples": 1,
    "top": 1,
}
PICTURES = Pictures(None, 60)
#: What differs from run to run.
MEASURED = {"elapsed_s", "search_s", "peak_bytes"}


class Stopped(Exception):
    """Somebody pulled the plug."""


def task_in(space):
    return Task(space, {}, PICTURES, {}, {}, seed=3)


@pytest.fixture(scope="module", params=SEARCHERS)
def kind(request):
    return plugins.load(PACKAGE, request.param, GradientSearcher)


@pytest.fixture(scope="module")
def options(kind):
    return {name: value for name, value in SMALL.items() if name in option_defaults(kind)}


@pytest.fixture(scope="module")
def task(kind, options):
    """Return a task in a space that the search can do."""
    for name, small in SMALL_SPACES.items():
        found = task_in(plugins.load("search_spaces", name, SearchSpace)(**small))
        try:
            kind(found, **options)
        except UsageError:
            continue
        return found
    return pytest.skip("it searches none of the small spaces")


def run(kind, task, options, folder, report=lambda values, share: None):
    folder.mkdir(exist_ok=True)
    return kind(task, **options).run(folder, report)


def without_times(outcome):
    history = tuple({key: value for key, value in row.items() if key not in MEASURED} for row in outcome.history)
    return replace(outcome, history=history)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of the search that `whole` has run."""
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def whole(kind, task, options, folder):
    """Return the outcome of a search that nobody disturbed, and all that it reported."""
    reports = []
    place = folder / kind.__name__
    return run(kind, task, options, place, lambda values, share: reports.append((values, share))), reports


@pytest.fixture(scope="module")
def outcome(whole):
    return without_times(whole[0])


def test_at_least_the_three_of_cells_are_found():
    assert {"darts", "pc_darts", "dca_nas"} <= set(NAMES)


def test_the_same_task_gives_the_same_outcome_and_another_seed_another(kind, task, options, outcome, tmp_path):
    assert without_times(run(kind, task, options, tmp_path / "again")) == outcome
    other = without_times(run(kind, replace(task, seed=4), options, tmp_path / "other"))
    assert (other.shares, other.history) != (outcome.shares, outcome.history)
    assert not outcome.shares or other.shares != outcome.shares


def test_what_is_proposed_lies_in_the_space(task, outcome):
    assert outcome.architectures and outcome.cause is None
    for item in outcome.architectures:
        assert item.space == task.space.name and task.space.architecture(item.decisions) == item
    assert all(sum(row) == pytest.approx(1.0) for row in outcome.shares)


def test_stopped_in_the_middle_it_goes_on_to_the_same_outcome(kind, task, options, outcome, tmp_path):
    def stop(values, share):
        assert 0 < share < 1
        raise Stopped

    with pytest.raises(Stopped):
        run(kind, task, options, tmp_path, stop)
    assert without_times(run(kind, task, options, tmp_path)) == outcome


def test_what_has_ended_is_not_searched_again(kind, task, options, whole, folder):
    assert run(kind, task, options, folder / kind.__name__) == whole[0], "the times as well"


def test_reports_are_json_values_that_tell_how_far_it_is(whole):
    outcome, reports = whole
    shares = [share for _, share in reports]
    assert shares == sorted(shares) and 0 < shares[0] <= shares[-1] <= 1
    for rows in ([values for values, _ in reports], list(outcome.history)):
        assert rows and json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_options_are_keywords_with_plain_defaults(kind, task, options):
    defaults = option_defaults(kind)
    assert defaults and all(isinstance(value, int | float | bool | str) for value in defaults.values())
    kind(task, **{**defaults, **options})


def test_bounds_are_multiples_of_the_limits(kind, task, options):
    model = StaticCost("params", task.space)
    assert kind(task, **options).factors == (1.0,), "nothing is limited"
    if not hasattr(task.space, "row_costs"):
        pytest.skip("its costs are no sums over rows")
    limited = replace(task, limits={"params": 1e5}, costs={"params": expected_cost(task.space, model)}, models=(model,))
    factors = kind(limited, **options).factors
    assert all(factor > 0 for factor in factors) and len(set(factors)) == len(factors) >= 1
    assert replace(limited, factor=factors[0]).bounds == {"params": factors[0] * 1e5}


def test_a_space_without_what_it_needs_is_refused(kind, options):
    space = plugins.load("search_spaces", "fbnet", SearchSpace)()
    with pytest.raises(UsageError) as caught:
        kind(task_in(space), **options)
    assert "fbnet" in caught.value.what and caught.value.remedy
