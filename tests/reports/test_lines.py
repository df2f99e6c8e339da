"""Line charts of studies: well-formed, escaped, in their frame."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from profiler._workspace import Workspace
from reports._lines import line_chart
from reports._subjects import report_page
from search_spaces.nasbench201 import NasBench201
from searchers._problem import Evaluation
from searchers._records import StudyLog


def points(chart):
    found = re.findall(r'points="([^"]*)"', chart)
    return [np.array([pair.split(",") for pair in item.split()], float) for item in found]


def test_a_chart_is_well_formed_escaped_and_within_its_frame():
    chart = line_chart("<reward> & more", {"a<b": np.array([np.nan, 1.0, 3.0]), "c": np.array([2.0])})
    root = ElementTree.fromstring(chart)
    assert root.find("title").text == "<reward> & more"
    first, second = points(chart)
    assert len(first) == 2 and len(second) == 1
    assert first[0][1] > second[0][1] > first[1][1]
    assert all(
        (line >= 0).all() and (line[:, 0] <= 720).all() and (line[:, 1] <= 240).all() for line in (first, second)
    )


@pytest.mark.parametrize("values", [np.full(5, 2.0), np.array([0.0])])
def test_a_constant_is_a_line_too(values):
    (line,) = points(line_chart("t", {"a": values}))
    assert np.isfinite(line).all() and len(line) == len(values)


def test_long_lines_are_thinned():
    (line,) = points(line_chart("t", {"a": np.arange(100_000.0)}))
    assert 600 <= len(line) < 1300


def test_the_page_of_a_study_shows_how_it_went(tmp_path):
    cell = next(NasBench201().enumerate())
    with Workspace.open(tmp_path / "w") as workspace:
        log = StudyLog.create(workspace.path / "studies", {"accuracy": None})
        log.append("s", 0, [Evaluation(cell, 1.0, {}, {}, True, None, 0.5)] * 3)
        log.finish({"winner": None})
        text = report_page(workspace, log.study_id)
    assert text.count("<svg") == 2
    assert "reward, mean of 50" in text and "feasible share of 50" in text
