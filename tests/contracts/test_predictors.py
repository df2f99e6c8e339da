"""What every predictor must do, whichever it is."""

import inspect
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from hilnas import plugins
from predictors._base import Predictor
from predictors._registry import load_fitted, save
from profiler._workspace import Workspace
from search_spaces._blocks import lookup_counts
from search_spaces._costs import block_costs
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=4, depth=1, resolution=8)
DEAD = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
ENTRIES = {
    block.key: 1e-6 + 1e-9 * block_costs(block).macs + 3e-9 * block_costs(block).activation_bytes
    for block in SPACE.blocks()
}


def true_latency_s(architecture):
    """Return the time of a device that runs the blocks of the live graph one after the other."""
    counts: Counter[str] = lookup_counts(SPACE.graph(architecture))
    return 2e-5 + sum(n * ENTRIES[key] for key, n in counts.items())


def noisy(architectures, seed=0, noise=0.02):
    rng = np.random.default_rng(seed)
    return np.array([true_latency_s(item) for item in architectures]) * np.exp(rng.normal(0, noise, len(architectures)))


TRAIN = SPACE.sample_distinct(60, seed=1)
TEST = SPACE.sample_distinct(80, seed=2, exclude=frozenset(map(SPACE.canonical, TRAIN)))


@pytest.fixture(scope="module", params=plugins.names("predictors"))
def kind(request):
    return plugins.load("predictors", request.param, Predictor)


def make(kind, **parameters):
    if "entries" in inspect.signature(kind).parameters:
        parameters["entries"] = ENTRIES
    return kind(SPACE, **parameters)


@pytest.fixture(scope="module")
def fitted(kind):
    return make(kind).fit(TRAIN, noisy(TRAIN))


def test_fit_returns_the_predictor(kind):
    predictor = make(kind)
    assert predictor.fit(TRAIN[:10], noisy(TRAIN[:10])) is predictor


def test_the_constructor_only_stores(kind):
    predictor = make(kind, seed=3, coverage=0.8)
    assert set(vars(predictor)) == set(predictor.get_params(deep=False))
    assert predictor.seed == 3
    assert predictor.coverage == 0.8


def test_parameters_survive_clone(kind):
    predictor = make(kind, seed=3, coverage=0.8)
    copy = clone(predictor)
    expected, found = predictor.get_params(deep=False), copy.get_params(deep=False)
    assert found.pop("space").options == expected.pop("space").options
    assert found == expected
    assert copy.set_params(seed=9).seed == 9


def test_predictions_have_the_promised_form(fitted):
    found = fitted.predict(TEST)
    for values in (found.mean_s, found.lower_s, found.upper_s):
        assert values.shape == (len(TEST),)
        assert np.isfinite(values).all()
    assert (found.lower_s > 0).all()
    assert (found.lower_s <= found.mean_s).all()
    assert (found.mean_s <= found.upper_s).all()
    assert len(found) == len(found.provenance) == len(list(found)) == len(TEST)
    assert set(found.provenance) <= {"table", "interpolated", "model"}


def test_nothing_is_predicted_of_nothing(fitted):
    assert len(fitted.predict([])) == 0


def test_predictions_do_not_depend_on_company(fitted):
    together = fitted.predict(TEST[:5])
    alone = [fitted.predict([item]).upper_s[0] for item in TEST[:5]]
    np.testing.assert_allclose(together.upper_s, alone, rtol=1e-9)


def test_predicts_better_than_the_mean(fitted):
    truth = np.array([true_latency_s(item) for item in TEST])
    errors = np.abs(fitted.predict(TEST).mean_s / truth - 1)
    assert errors.mean() < 0.7 * np.abs(noisy(TRAIN).mean() / truth - 1).mean()


def test_intervals_hold_what_they_promise(kind):
    """90 % on average over draws of the training set; the allowance is for six draws of 80."""
    inside = []
    for seed in range(6):
        train = SPACE.sample_distinct(40, seed=100 + seed, exclude=frozenset(map(SPACE.canonical, TEST)))
        found = make(kind, seed=seed).fit(train, noisy(train, seed)).predict(TEST)
        truth = noisy(TEST, 50 + seed)
        inside.append(np.mean((found.lower_s <= truth) & (truth <= found.upper_s)))
    assert 0.82 <= np.mean(inside) <= 0.99


def test_more_coverage_is_wider(fitted):
    narrow, wide = fitted.predict(TEST, coverage=0.5), fitted.predict(TEST, coverage=0.95)
    assert (narrow.upper_s <= wide.upper_s).all()
    assert (narrow.upper_s < wide.upper_s).any()
    np.testing.assert_array_equal(narrow.mean_s, wide.mean_s)


@pytest.mark.parametrize("confidence", [0.6, 0.75, 0.9, 0.95])
def test_probability_is_the_confidence_of_the_upper_bound(fitted, confidence):
    upper = fitted.predict(TEST, coverage=2 * confidence - 1).upper_s
    ordered = np.sort(upper)
    for place in (10, 40, 70):
        limit_s = float(np.sqrt(ordered[place] * ordered[place + 1]))
        np.testing.assert_array_equal(fitted.probability(TEST, limit_s) >= confidence, upper <= limit_s)


def test_probability_grows_with_the_limit(fitted):
    limits_s = np.geomspace(noisy(TEST).min() / 3, noisy(TEST).max() * 3, 30)
    found = np.stack([fitted.probability(TEST[:20], limit_s) for limit_s in limits_s])
    assert (np.diff(found, axis=0) >= 0).all()
    assert (found[0] < 0.1).all() and (found[-1] > 0.9).all()
    assert (found >= 0).all() and (found <= 1).all()
    middle = fitted.predict(TEST[:1]).mean_s[0]
    assert fitted.probability(TEST[:1], middle * 0.999)[0] <= 0.5 <= fitted.probability(TEST[:1], middle * 1.001)[0]


def test_probability_is_honest(kind):
    """Of what shall keep a limit with 80 to 100 %, at least 80 % does, on average over draws of the training set."""
    kept = []
    for seed in range(4):
        train = SPACE.sample_distinct(40, seed=200 + seed, exclude=frozenset(map(SPACE.canonical, TEST)))
        truth = noisy(TEST, 70 + seed)
        likely = make(kind, seed=seed).fit(train, noisy(train, seed)).probability(TEST, float(np.median(truth))) >= 0.8
        kept.append(np.mean(truth[likely] <= np.median(truth)))
    assert np.mean(kept) >= 0.8


def test_probability_of_constant_outputs_is_that_of_the_bound(fitted):
    below, above = fitted.floor_s_ * 0.9, fitted.floor_s_ * 1.1
    assert fitted.probability([DEAD], below)[0] == 0
    assert fitted.probability([DEAD], above)[0] == 1
    assert len(fitted.probability([], above)) == 0


def test_the_seed_decides(kind):
    first, second = (make(kind, seed=5).fit(TRAIN, noisy(TRAIN)).predict(TEST) for _ in range(2))
    for name in ("mean_s", "lower_s", "upper_s"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_saved_and_loaded_it_predicts_the_same(fitted, kind, tmp_path):
    name = kind.__module__.rpartition(".")[2]
    with Workspace.open(tmp_path / "w") as workspace:
        save(workspace, "board", name, fitted, TRAIN, noisy(TRAIN), {})
        loaded = load_fitted(workspace, "board", SPACE)
    assert loaded.name == name
    for field in ("mean_s", "lower_s", "upper_s"):
        np.testing.assert_allclose(
            getattr(loaded.predict(TEST), field), getattr(fitted.predict(TEST), field), rtol=1e-12
        )
    assert loaded.predictor.parameters() == fitted.parameters()


def test_constant_outputs_are_bounded_not_learned(kind):
    times = noisy(TRAIN)
    with_dead = make(kind).fit([*TRAIN, DEAD], [*times, 1e-6])
    without = make(kind).fit(TRAIN, times)
    np.testing.assert_array_equal(with_dead.predict(TEST).mean_s, without.predict(TEST).mean_s)
    found = with_dead.predict([TEST[0], DEAD])
    assert found.provenance[1] == "bound"
    assert found.mean_s[1] == found.upper_s[1] == 1e-6
    assert found.lower_s[1] == 0
    assert without.predict([DEAD]).mean_s[0] == times.min()


@pytest.mark.parametrize("n", [2, 3, 7])
def test_few_samples_are_enough(kind, n):
    found = make(kind).fit(TRAIN[:n], noisy(TRAIN[:n])).predict(TEST)
    assert (found.lower_s > 0).all()
    assert (found.lower_s <= found.mean_s).all() and (found.mean_s <= found.upper_s).all()


def test_repeated_samples_and_equal_times_do_no_harm(kind):
    fitted = make(kind).fit([TRAIN[0]] * 5, [1e-3] * 5)
    np.testing.assert_allclose(fitted.predict([TRAIN[0]]).mean_s, 1e-3, rtol=1e-3)
    found = fitted.predict(TEST)
    assert np.all((found.lower_s > 0) & (found.lower_s <= found.mean_s) & np.isfinite(found.upper_s))
    if kind.__name__ != "Transfer":  # which knows beforehand that networks differ
        np.testing.assert_allclose(found.mean_s, 1e-3, rtol=1e-6)
    constant = make(kind).fit(TRAIN, np.full(len(TRAIN), 1e-3)).predict(TEST)
    np.testing.assert_allclose(constant.mean_s, 1e-3, rtol=1e-3)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_times_must_be_times(kind, bad):
    with pytest.raises(ValueError, match="positive and finite"):
        make(kind).fit(TRAIN[:3], [1e-3, bad, 1e-3])


def test_lengths_must_agree(kind):
    with pytest.raises(ValueError, match="as many times"):
        make(kind).fit(TRAIN[:3], [1e-3, 2e-3])


def test_one_sample_is_too_few(kind):
    with pytest.raises(ValueError, match="at least 2"):
        make(kind).fit([TRAIN[0], DEAD], [1e-3, 1e-3])


def test_predicting_before_fitting_is_an_error(kind):
    with pytest.raises(NotFittedError):
        make(kind).predict(TEST)


def test_it_asks_for_nothing_it_has(kind):
    assert make(kind).requests() == []
    assert kind.minimum_samples >= 2


def test_expected_cost_is_the_expectation(fitted):
    rng = np.random.default_rng(0)
    corner = [np.eye(n)[item] for n, item in zip(SPACE.cardinalities, TEST[3].decisions, strict=True)]
    assert fitted.expected_cost(corner) == pytest.approx(fitted.predict([TEST[3]]).mean_s[0], rel=1e-9)
    mixed = [rng.dirichlet(np.ones(n)) for n in SPACE.cardinalities]
    draws = [SPACE.architecture(tuple(int(rng.choice(5, p=p)) for p in mixed)) for _ in range(4000)]
    times = fitted.predict(draws).mean_s
    assert fitted.expected_cost(mixed) == pytest.approx(times.mean(), abs=5 * times.std() / np.sqrt(len(times)))


def test_codes_are_predicted_as_architectures_are(fitted):
    codes = np.array([item.decisions for item in [*TEST, DEAD]])
    np.testing.assert_allclose(fitted.predict_codes(codes), fitted.predict([*TEST, DEAD]).mean_s, rtol=1e-8)


def test_expected_cost_has_the_right_gradient(fitted):
    rng = np.random.default_rng(1)
    logits = torch.tensor(rng.normal(size=(6, 5)), requires_grad=True)
    cost = fitted.expected_cost(torch.softmax(logits, dim=1))
    cost.backward()
    step = torch.zeros(6, 5, dtype=torch.float64)
    step[2, 3] = 1e-4
    with torch.no_grad():
        high, low = (fitted.expected_cost(torch.softmax(logits + sign * step, dim=1)) for sign in (1, -1))
    assert float((high - low) / 2e-4) == pytest.approx(float(logits.grad[2, 3]), rel=1e-4)
