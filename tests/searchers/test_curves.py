"""How a study went, evaluation by evaluation."""

from types import SimpleNamespace

import numpy as np
import pytest

from hilnas.errors import BadFile, UnknownName
from searchers._curves import WINDOW, study_curves
from searchers._records import StudyLog


@pytest.fixture
def workspace(tmp_path):
    """Return what the curves need of a workspace: a folder, and one column of accuracies."""
    known = {"toy:111": 70.0, "toy:211": 90.0, "toy:311": 80.0}

    def column_at(address):
        if address != "table:a/b":
            raise UnknownName("table", address, ["a"])
        return SimpleNamespace(values=known)

    return SimpleNamespace(path=tmp_path, store=SimpleNamespace(column_at=column_at))


def recorded(workspace, studies, accuracy="table:a/b"):
    log = StudyLog.create(workspace.path / "studies", {"accuracy": accuracy})
    for (name, seed), items in studies.items():
        log.append(name, seed, items)
    return study_curves(workspace, log.study_id)


def test_curves_are_means_over_seeds_of_means_over_a_window(workspace, evaluation):
    slow, fast = evaluation("111", 1.0, 9.0), evaluation("211", 2.0, 1.0)
    found = recorded(workspace, {("s", 0): [slow] * WINDOW + [fast] * WINDOW, ("s", 1): [fast] * WINDOW})
    share = found[f"feasible share of {WINDOW}"]["s"]
    assert len(share) == 2 * WINDOW
    assert share[0] == 0.5
    assert share[WINDOW] == pytest.approx(1 / WINDOW)
    assert share[-1] == 1.0
    assert not any(title.startswith("reward") for title in found)


def test_the_accuracy_is_of_the_best_score_that_may_win(workspace, evaluation):
    from dataclasses import replace

    items = [
        evaluation("211", 9.0, 9.0), evaluation("111", 1.0), replace(evaluation("211", 8.0), may_win=False),
        evaluation("311", 3.0), evaluation("111", 2.0),
    ]  # fmt: skip
    curve = recorded(workspace, {("s", 0): items})["accuracy of the best score so far, %"]["s"]
    assert np.isnan(curve[0])
    assert curve[1:].tolist() == [70.0, 70.0, 80.0, 80.0]


@pytest.mark.parametrize("accuracy", [None, "table:gone/b"])
def test_without_a_column_of_accuracies_there_is_no_such_curve(workspace, evaluation, accuracy):
    found = recorded(workspace, {("s", 0): [evaluation()]}, accuracy)
    assert list(found) == [f"feasible share of {WINDOW}"]


def test_a_record_that_makes_no_sense_is_a_bad_file(workspace):
    log = StudyLog.create(workspace.path / "studies", {})
    log._append([{"searcher": "s", "seed": 0}])
    with pytest.raises(BadFile):
        study_curves(workspace, log.study_id)
