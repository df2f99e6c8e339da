"""CV+ against its definition, and what it promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors._conformal import assign_folds, cv_plus, cv_plus_below


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60), st.integers(1, 12), st.integers(0, 9))
def test_folds_keep_groups_together_and_are_even(groups, n_folds, seed):
    folds = assign_folds(groups, n_folds, seed)
    fold_of = {}
    for group, fold in zip(groups, folds, strict=True):
        assert fold_of.setdefault(group, fold) == fold
    sizes = np.bincount(list(fold_of.values()), minlength=n_folds)
    assert sizes.max() - sizes.min() <= 1
    assert folds.max() < n_folds
    np.testing.assert_array_equal(folds, assign_folds(groups, n_folds, seed))


def by_definition(fold_logs, folds, residuals, coverage):
    """Barber et al. 2021, section 3: quantiles of mu_{-S_k(i)}(x) -+ R_i."""
    m = len(residuals)
    k = min(int(np.ceil(coverage * (m + 1))), m)
    lower = [-sorted(-(row[folds] - residuals))[k - 1] for row in fold_logs]
    upper = [sorted(row[folds] + residuals)[k - 1] for row in fold_logs]
    return np.array(lower), np.array(upper)


@given(st.integers(1, 30), st.integers(1, 6), st.floats(0.05, 0.99), st.integers(0, 2**20))
def test_bounds_are_those_of_the_definition(m, n_folds, coverage, seed):
    rng = np.random.default_rng(seed)
    fold_logs, folds = rng.normal(size=(7, n_folds)), rng.integers(n_folds, size=m)
    residuals = np.abs(rng.normal(size=m))
    for found, expected in zip(
        cv_plus(fold_logs, folds, residuals, coverage),
        by_definition(fold_logs, folds, residuals, coverage),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected)


@given(st.integers(1, 30), st.floats(0.02, 1.0), st.floats(-3, 3), st.integers(0, 2**20))
def test_the_share_below_a_limit_is_the_widest_coverage_that_keeps_it(m, share, limit, seed):
    rng = np.random.default_rng(seed)
    fold_logs, folds, residuals = rng.normal(size=(7, 3)), rng.integers(3, size=m), np.abs(rng.normal(size=m))
    coverage = share * m / (m + 1)
    lower, upper = cv_plus(fold_logs, folds, residuals, coverage)
    below, above = cv_plus_below(fold_logs, folds, residuals, limit)
    np.testing.assert_array_equal(below + 1e-9 >= coverage, upper <= limit)
    np.testing.assert_array_equal(above + 1e-9 >= coverage, lower > limit)
    assert max(below.max(), above.max()) <= m / (m + 1)


def test_many_rows_are_the_same_as_few():
    rng = np.random.default_rng(0)
    fold_logs, folds, residuals = rng.normal(size=(3000, 4)), np.arange(40) % 4, np.abs(rng.normal(size=40))
    lower, upper = cv_plus(fold_logs, folds, residuals, 0.9)
    np.testing.assert_array_equal(cv_plus(fold_logs[2500:], folds, residuals, 0.9)[0], lower[2500:])
    np.testing.assert_array_equal(cv_plus(fold_logs[:10], folds, residuals, 0.9)[1], upper[:10])


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_coverage_of_a_fixed_model_is_as_asked(coverage):
    """With one constant model the bounds are split conformal's: coverage 1 - alpha to 1 - alpha + 1 / (m + 1)."""
    rng = np.random.default_rng(1)
    m, draws = 39, 3000
    inside = 0
    for _ in range(draws):
        errors = rng.standard_t(3, size=m + 1)
        lower, upper = cv_plus(np.zeros((1, 1)), np.zeros(m, dtype=int), np.abs(errors[:m]), coverage)
        inside += lower[0] <= errors[m] <= upper[0]
    allowance = 4 * np.sqrt(coverage * (1 - coverage) / draws)
    assert coverage - allowance <= inside / draws <= coverage + 1 / (m + 1) + allowance


def test_too_few_samples_give_the_widest_residual():
    lower, upper = cv_plus(np.zeros((1, 1)), np.zeros(3, dtype=int), np.array([0.1, 0.3, 0.2]), 0.9)
    assert (lower[0], upper[0]) == (-0.3, 0.3)
