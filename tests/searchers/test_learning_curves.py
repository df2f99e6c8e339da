"""Extrapolation: exact on power laws, careful elsewhere, and judged on curves that were measured.

`fixtures/learning_curves.jsonl` holds trainings as the evaluator keeps them: cells of nasbench201 on digits, with
`epochs=12 width=8 resolution=8 stop=false`.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchers._learning_curves import power_law

CURVES = Path(__file__).parents[1] / "fixtures" / "learning_curves.jsonl"


@pytest.fixture(scope="module")
def measured():
    lines = CURVES.read_text().splitlines()
    return [json.loads(line)[1]["accuracies"] for line in lines]


@given(st.floats(0.5, 0.95), st.floats(0.05, 0.4), st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.0]), st.integers(3, 8))
def test_a_power_law_is_continued(limit, gain, exponent, seen):
    curve = [limit - gain * t**-exponent for t in range(1, seen + 1)]
    assert power_law(curve, 30) == pytest.approx(limit - gain * 30**-exponent, abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(1, 200))
def test_what_is_expected_is_a_share_and_not_below_what_was_reached(curve, epoch):
    assert curve[-1] <= power_law(curve, epoch) <= 1


@pytest.mark.parametrize("curve", [[0.5], [0.3, 0.5], [0.7, 0.6, 0.5], [0.5, 0.5, 0.5]])
def test_short_falling_and_flat_curves_stay_where_they_are(curve):
    assert power_law(curve, 50) == pytest.approx(max(curve[-1], np.mean(curve) if len(curve) > 2 else 0))


@pytest.mark.parametrize("seen", [3, 4])
def test_on_measured_curves_it_errs_less_than_the_last_accuracy(measured, seen):
    end = np.array([curve[-1] for curve in measured])
    expected = np.array([power_law(curve[:seen], len(curve)) for curve in measured])
    last = np.array([curve[seen - 1] for curve in measured])
    assert len(measured) >= 10
    assert np.abs(expected - end).mean() < np.abs(last - end).mean()
