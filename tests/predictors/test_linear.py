"""The small linear models against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from predictors._linear import FLOOR, fit_line, fit_ridge


def data(n=80, d=6, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    features = rng.uniform(0, 5, (n, d)) * 10.0 ** np.arange(d)
    y = 1e-3 + features @ (1e-4 / 10.0 ** np.arange(d))
    return features, y * np.exp(rng.normal(0, noise, n))


def test_exact_data_are_recovered():
    features, y = data()
    model = fit_ridge(features, y, 1e-12)
    assert model.intercept == pytest.approx(1e-3, rel=1e-6)
    np.testing.assert_allclose(model.coefficients, 1e-4 / 10.0 ** np.arange(6), rtol=1e-6)


@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 1.0])
def test_it_is_weighted_ridge_regression(alpha):
    features, y = data(noise=0.1)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    reference = Ridge(alpha=alpha * len(y) / y.mean() ** 2).fit(standard, y, sample_weight=1 / y**2)
    np.testing.assert_allclose(fit_ridge(features, y, alpha)(features), reference.predict(standard), rtol=1e-8)


@given(st.integers(0, 1000), st.sampled_from([1e-9, 1e3, 2.0]))
def test_the_unit_of_time_does_not_matter(seed, factor):
    features, y = data(30, 4, seed, noise=0.1)
    first, second = fit_ridge(features, y, 1e-3, robust=True), fit_ridge(features, y * factor, 1e-3, robust=True)
    np.testing.assert_allclose(second(features), first(features) * factor, rtol=1e-6)


def test_constant_and_repeated_columns_change_nothing():
    features, y = data(noise=0.05)
    more = np.column_stack([np.full(len(y), 7.0), features, features[:, 2] * 3 + 1, np.zeros(len(y))])
    np.testing.assert_allclose(fit_ridge(more, y, 1e-2)(more), fit_ridge(features, y, 1e-2)(features), rtol=1e-9)


def test_the_robust_loss_bears_outliers():
    features, y = data(noise=0.01)
    spoiled = y.copy()
    spoiled[:8] *= 3
    robust, plain = (
        np.abs(fit_ridge(features, spoiled, 1e-6, item)(features) / y - 1).mean() for item in (True, False)
    )
    assert robust < 0.02 < plain


def test_nothing_is_predicted_below_the_floor():
    x = np.array([[1.0], [2.0], [3.0]])
    model = fit_line(x, np.array([1.0, 2.0, 3.0]))
    assert model(np.array([[-5.0]]))[0] == FLOOR


def test_a_base_is_added_to():
    features, y = data()
    base = 0.7 * y
    added = fit_ridge(features, y, 1e-12, base=base)
    np.testing.assert_allclose(base + added(features), y, rtol=1e-6)


def test_the_line_is_exact_through_two_points():
    model = fit_line(np.array([[1.0], [3.0]]), np.array([2e-3, 4e-3]))
    np.testing.assert_allclose(model(np.array([[2.0], [5.0]])), [3e-3, 6e-3], rtol=1e-6)


def test_the_line_ignores_outliers():
    x = np.linspace(1, 9, 30)[:, None]
    y = 1e-3 + 1e-4 * x[:, 0]
    y[[3, 17]] *= 4
    model = fit_line(x, y)
    assert model.coefficients[0] == pytest.approx(1e-4, rel=0.02)
    assert model.intercept == pytest.approx(1e-3, rel=0.02)


def test_the_line_never_falls():
    x = np.array([[1.0], [2.0], [3.0]])
    model = fit_line(x, np.array([3.0, 2.0, 1.0]))
    assert model.coefficients[0] == 0
    assert 1.0 <= model.intercept <= 3.0


def test_the_line_bears_one_place():
    model = fit_line(np.full((4, 1), 5.0), np.array([1.0, 1.1, 0.9, 1.0]))
    assert model(np.array([[5.0], [50.0]])) == pytest.approx([1.0, 1.0], rel=0.05)
