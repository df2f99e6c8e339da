"""The one evaluation against scikit-learn and scipy, and at its borders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import mean_absolute_percentage_error

from hilnas.errors import UsageError
from predictors._base import Predictions
from predictors._evaluation import FIGURES, evaluate, noise_ceiling, split
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
times = st.floats(1e-5, 10, allow_nan=False)
pairs = st.integers(2, 40).flatmap(
    lambda n: st.tuples(arrays(float, n, elements=times), arrays(float, n, elements=times))
)


def predictions(mean, lower=None, upper=None, provenance=None):
    mean = np.asarray(mean, dtype=float)
    return Predictions(
        mean,
        mean * 0.9 if lower is None else np.asarray(lower, dtype=float),
        mean * 1.1 if upper is None else np.asarray(upper, dtype=float),
        provenance or ("model",) * len(mean),
    )


@given(pairs)
def test_figures_are_those_of_the_libraries(pair):
    truth, guess = pair
    scores = evaluate(truth, predictions(guess))
    assert scores.n == len(truth)
    assert scores.mape == pytest.approx(mean_absolute_percentage_error(truth, guess))
    if np.ptp(truth) > 0 and np.ptp(guess) > 0:
        assert scores.spearman == pytest.approx(spearmanr(truth, guess).statistic)
        assert scores.kendall == pytest.approx(kendalltau(truth, guess).statistic)
    else:
        assert scores.spearman is None and scores.kendall is None


@given(pairs)
def test_figures_do_not_depend_on_the_unit(pair):
    """A power of two, so that no rounding makes or breaks a tie."""
    truth, guess = pair
    first = evaluate(truth, predictions(guess), limit_s=float(np.median(truth)))
    second = evaluate(truth * 1024, predictions(guess * 1024), limit_s=float(np.median(truth)) * 1024)
    for name in FIGURES:
        if name != "limit_s":
            assert getattr(second, name) == pytest.approx(getattr(first, name))


@given(pairs)
def test_shares_are_shares_and_nested(pair):
    scores = evaluate(pair[0], predictions(pair[1]), limit_s=1.0)
    assert 0 <= scores.within_5 <= scores.within_10 <= 1
    assert 0 <= scores.coverage <= 1
    rounding = 1 + 1e-12
    assert abs(scores.bias) <= scores.mape * rounding <= scores.worst * rounding**2


def test_by_hand():
    scores = evaluate(
        [1.0, 2.0, 4.0, 5.0], predictions([1.04, 2.18, 3.0, 5.0], [1.0, 2.1, 2, 5], [1.1, 2.5, 4, 5]), 2.5
    )
    assert scores.mape == pytest.approx((0.04 + 0.09 + 0.25 + 0) / 4)
    assert scores.within_5 == 0.5
    assert scores.within_10 == 0.75
    assert scores.bias == pytest.approx((0.04 + 0.09 - 0.25) / 4)
    assert scores.worst == 0.25
    assert scores.coverage == 0.75
    assert scores.violation_mean == 0
    assert scores.violation_upper == 0


def test_violations_are_of_what_was_accepted():
    guess = predictions([1, 1, 1, 3], upper=[1.1, 1.1, 2.5, 3.3], lower=[0.9, 0.9, 0.9, 2.7])
    scores = evaluate([1, 2.5, 2.5, 3], guess, limit_s=2.0)
    assert scores.violation_mean == pytest.approx(2 / 3)
    assert scores.violation_upper == pytest.approx(1 / 2)
    assert evaluate([1, 1], predictions([3, 3]), limit_s=2.0).violation_mean is None


def test_constant_outputs_are_left_out():
    guess = predictions([1, 9], provenance=("model", "bound"))
    assert evaluate([1, 1], guess).n == 1
    assert evaluate([1, 1], guess).mape == 0


def test_nothing_and_one():
    empty = evaluate([], predictions([]), limit_s=1.0)
    assert empty.n == 0
    assert {name for name in FIGURES if getattr(empty, name) is not None} == {"n", "limit_s"}
    one = evaluate([1.0], predictions([1.2]))
    assert one.spearman is None
    assert one.mape == pytest.approx(0.2)


def test_noise_ceiling_compares_interleaved_halves():
    scores = noise_ceiling({"a": [1.0, 1.1, 1.0, 1.1], "b": [2.0, 2.0], "c": [5.0]})
    assert scores.n == 2
    assert scores.mape == pytest.approx(((1.1 - 1.0) / 1.1 + 0) / 2)
    assert scores.coverage is None
    assert noise_ceiling({}).n == 0


def test_noise_ceiling_sees_the_noise():
    rng = np.random.default_rng(0)
    medians = {str(i): list(center * np.exp(rng.normal(0, 0.03, 8))) for i, center in enumerate(rng.uniform(1, 9, 300))}
    scores = noise_ceiling(medians)
    # The median of four normal values has 1.19 / sqrt(4) times their deviation (asymptotically 1.25); E|x| = 0.8 sd.
    expected = 0.03 * np.sqrt(2) * 0.546 * np.sqrt(2 / np.pi)
    assert scores.mape == pytest.approx(expected, rel=0.15)
    assert scores.spearman > 0.99


@given(st.integers(0, 2**20), st.integers(1, 20), st.integers(1, 20))
def test_split_shares_no_form(seed, n_train, n_test):
    rng = np.random.default_rng(seed)
    architectures = [SPACE.sample(rng) for _ in range(60)]
    forms = [SPACE.canonical(item)[:6] for item in architectures]
    try:
        train, test = split(architectures, forms, n_train, n_test, seed)
    except UsageError:
        assert len(set(forms)) < n_test + n_train
        return
    assert len(train) == n_train
    assert len(test) == len({forms[i] for i in test}) == n_test
    assert not {forms[i] for i in train} & {forms[i] for i in test}
    assert (train, test) == split(architectures, forms, n_train, n_test, seed)


def test_split_without_a_number_takes_the_rest():
    architectures = SPACE.sample_distinct(30, seed=0)
    forms = [SPACE.canonical(item) for item in architectures]
    train, test = split(architectures, forms, None, 10, seed=4)
    assert sorted(train + test) == list(range(30))
    assert split(architectures, forms, None, 10, seed=5)[1] != test


def test_split_of_too_few_says_so():
    architectures = SPACE.sample_distinct(10, seed=0)
    with pytest.raises(UsageError, match="more than there are"):
        split(architectures, [SPACE.canonical(item) for item in architectures], 8, 3, seed=0)
