"""Evidence of processes with heavy-tailed errors, against integrals that are solved by other means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from predictors._evidence import TAILS, TAILS_VARIANCE, explain


@settings(deadline=None)
@given(signal=st.floats(0.1, 3.0), noise=st.floats(0.01, 0.5), off=st.floats(-2.0, 2.0))
def test_evidence_of_one_measurement_is_close_below_the_integral(signal: float, noise: float, off: float) -> None:
    y = off * float(np.hypot(signal, noise))
    precisions = stats.gamma.ppf((np.arange(20000) + 0.5) / 20000, TAILS / 2, scale=2 / TAILS)
    truth = np.log(stats.norm.pdf(y, scale=np.sqrt(signal**2 + noise**2 / precisions)).mean())
    found = explain(np.array([[[signal**2]]]), np.array([noise]), np.array([y])).log_evidence[0]
    # The largest gap of these ranges is 0.3054, the smallest 0.0003; the sum is exact to 0.000002.
    assert truth - 0.306 < found < truth


def test_a_measurement_that_no_process_explains_is_believed_least() -> None:
    rng = np.random.default_rng(0)
    places = np.linspace(0, 3, 12)
    covariance = np.exp(-((places[:, None] - places) ** 2))
    y = rng.multivariate_normal(np.zeros(12), covariance + 1e-9 * np.eye(12)) + rng.normal(0, 0.02, 12)
    clean = explain(covariance[None], np.array([0.02]), y)
    spoiled = y.copy()
    spoiled[5] += 1.0
    found = explain(covariance[None], np.array([0.02]), spoiled)
    assert found.variances[0].argmax() == 5
    assert found.variances[0, 5] > 100 * clean.variances[0, 5]
    kept = np.delete(np.arange(12), 5)
    truth, seen = (covariance @ item.weights[0] for item in (clean, found))
    assert seen[kept] == pytest.approx(truth[kept], abs=0.02)
    # A normal error of that scale would have had to believe it.
    believed = covariance @ np.linalg.solve(covariance + 0.02**2 * np.eye(12), spoiled)
    assert np.abs(believed - truth).max() > 0.2


def test_errors_are_as_wide_as_their_distribution() -> None:
    assert stats.t.var(TAILS) == pytest.approx(TAILS_VARIANCE)


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_evidence_prefers_errors_of_the_right_scale(scale: float) -> None:
    y = stats.t.rvs(TAILS, size=60, random_state=1) * 0.1
    nothing = np.full((2, 60, 60), 1e-9)
    right, wrong = explain(nothing, np.array([0.1, 0.1 * scale]), y).log_evidence
    assert right > wrong + 10
