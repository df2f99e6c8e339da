"""Saved predictors: found, chosen, refused."""

import json

import numpy as np
import pytest

from hilnas.errors import BadFile, UnknownName
from predictors._errors import NotFitted
from predictors._registry import load_fitted, save, saved_names
from predictors.gradient_boosting import GradientBoosting
from predictors.macs_baseline import MacsBaseline
from profiler._workspace import Workspace
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=4, depth=1, resolution=8)
X = SPACE.sample_distinct(12, seed=0)
Y = np.random.default_rng(0).uniform(1e-3, 2e-3, 12)


@pytest.fixture
def workspace(tmp_path):
    with Workspace.open(tmp_path / "w") as opened:
        yield opened


def put(workspace, kind=MacsBaseline, name="macs_baseline", mape=0.1, device="board", space=SPACE):
    evaluation = {} if mape is None else {"scores": {"mape": mape}}
    return save(workspace, device, name, kind(space).fit(X, Y), X, Y, evaluation)


def test_the_best_on_held_out_architectures_is_taken(workspace):
    put(workspace, mape=0.2)
    put(workspace, GradientBoosting, "gradient_boosting", mape=0.1)
    assert saved_names(workspace, "board", SPACE) == ["gradient_boosting", "macs_baseline"]
    assert load_fitted(workspace, "board", SPACE).name == "gradient_boosting"
    assert load_fitted(workspace, "board", SPACE, "macs_baseline").name == "macs_baseline"
    put(workspace, GradientBoosting, "gradient_boosting", mape=None)
    assert load_fitted(workspace, "board", SPACE).name == "macs_baseline"


def test_what_it_was_fitted_on_comes_back(workspace):
    put(workspace)
    found = load_fitted(workspace, "board", SPACE)
    assert list(found.architectures) == X
    np.testing.assert_array_equal(found.latency_s, Y)
    np.testing.assert_array_equal(found.predict(X).mean_s, found.predictor.predict(X).mean_s)


def test_devices_and_options_are_kept_apart(workspace):
    wide = NasBench201(width=8, depth=1, resolution=8)
    put(workspace, device="table:a/b")
    put(workspace, space=wide, mape=0.3)
    assert saved_names(workspace, "table:a/b", SPACE) == ["macs_baseline"]
    assert saved_names(workspace, "board", SPACE) == []
    assert dict(load_fitted(workspace, "board", wide).saved.options)["width"] == 8


@pytest.mark.parametrize("device", ["../../etc", "table:x/../y", "a b"])
def test_a_device_name_leads_nowhere_else(workspace, device):
    path = put(workspace, device=device)
    assert path.resolve().is_relative_to(workspace.predictors.resolve())
    assert load_fitted(workspace, device, SPACE).name == "macs_baseline"


def test_nothing_fitted_names_the_command(workspace):
    with pytest.raises(NotFitted, match="no predictor is fitted") as caught:
        load_fitted(workspace, "board", SPACE)
    assert "hilnas fit board --predictor gradient_boosting" in caught.value.remedy
    put(workspace)
    with pytest.raises(NotFitted, match="lookup_table"):
        load_fitted(workspace, "board", SPACE, "lookup_table")
    with pytest.raises(UnknownName, match="gradient_bosting"):
        load_fitted(workspace, "board", SPACE, "gradient_bosting")


def test_an_unknown_name_is_no_path(workspace):
    with pytest.raises(UnknownName):
        load_fitted(workspace, "board", SPACE, "../../secrets")


def edit(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"surprise": 1},
        {"latency_s": [float("nan")] * 12},
        {"latency_s": [-1.0] * 12},
        {"latency_s": [1e-3]},
        {"architectures": "all"},
        {"choices": {}},
        {"parameters": {"colour": "red"}},
        {"options": {"width": 99}},
    ],
)
def test_a_damaged_file_is_refused(workspace, changes):
    path = put(workspace)
    edit(path, **changes)
    with pytest.raises(BadFile):
        load_fitted(workspace, "board", SPACE)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x80"])
def test_what_is_no_json_is_refused(workspace, content):
    path = put(workspace)
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BadFile, match="no saved predictor") as caught:
        load_fitted(workspace, "board", SPACE)
    assert "hilnas fit" in caught.value.remedy


def test_a_huge_file_is_refused_unread(workspace):
    path = put(workspace)
    with path.open("r+b") as file:
        file.truncate(64 * 2**20)
    with pytest.raises(BadFile, match="larger than"):
        load_fitted(workspace, "board", SPACE)


def test_nothing_is_left_beside_a_saved_predictor(workspace):
    path = put(workspace)
    put(workspace)
    assert list(path.parent.iterdir()) == [path]
