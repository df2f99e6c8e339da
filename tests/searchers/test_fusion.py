"""Several scores as one: normal scores, rank fusion, the fusion indicator, the forest."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import norm

from hilnas.errors import UsageError
from hilnas.records import Constraint
from search_spaces.nasbench201 import NasBench201
from searchers._cost_models import TableCost
from searchers._loop import run_study
from searchers._problem import Problem
from searchers.evaluators._labels import Labels
from searchers.evaluators._normal_scores import NormalScores
from searchers.evaluators._trees import Trees
from searchers.evaluators.forest import Forest
from searchers.evaluators.fusion_indicator import FusionIndicator, fitted
from searchers.evaluators.rank_fusion import RankFusion
from searchers.evaluators.tabular import Tabular
from searchers.random_search import RandomSearch

SPACE = NasBench201()
CELLS = [cell for cell in SPACE.enumerate() if SPACE.graph(cell).connected]
#: Made up: what an operation adds to the accuracy, and to two indicators that see it through noise.
WORTH = np.array([0.0, 3.0, 6.0, 9.0, 2.0])
any_floats = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30)


def of_cells(values):
    return {cell.text: float(value) for cell, value in zip(CELLS, values, strict=True)}


@pytest.fixture(scope="module")
def made_up():
    """Return accuracy, a good and a poor indicator of it, as arrays over CELLS."""
    rng = np.random.default_rng(0)
    accuracy = 50 + WORTH[np.array([cell.decisions for cell in CELLS])].sum(1) * 0.7
    return accuracy, accuracy + rng.normal(0, 1, len(CELLS)), accuracy + rng.normal(0, 20, len(CELLS))


def tabular(values):
    return Tabular(SPACE, values=of_cells(values), source="t")


def values_of(evaluator, cells):
    return np.array([score.value for score in evaluator.evaluate(cells)])


@given(population=any_floats, asked=any_floats)
@example(population=[0.0, 1.3482698511467365e308, 0.25], asked=[0.125])  # points closer than slopes can be steep
def test_normal_scores_are_finite_and_in_order_whatever_comes(population, asked):
    found = NormalScores(population)(sorted(value for value in asked if math.isfinite(value)))
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
    missing = NormalScores(population)([math.nan, math.inf, -math.inf])
    assert len(set(missing)) == 1 and np.isfinite(missing).all()
    assert (found >= missing[0]).all()


def test_normal_scores_of_the_population_are_quantiles_of_its_mid_ranks():
    found = NormalScores([5.0, 1.0, 1.0, 1e300])([1.0, 5.0, 1e300])
    assert found == pytest.approx(norm.ppf([0.25, 0.625, 0.875]))


def test_beyond_the_population_scores_still_tell_apart_but_stay_near():
    scores = NormalScores(np.arange(100.0))
    low, first, last, high, higher = scores([-50.0, 0.0, 99.0, 150.0, 1e12])
    assert low < first < last < high < higher < norm.ppf(1 - 0.0025) + 1e-9


def test_rank_fusion_does_not_depend_on_the_scale_of_a_score(made_up):
    _, good, poor = made_up
    cells = CELLS[::97]
    plain = RankFusion(SPACE, parts=(tabular(good), tabular(poor)))
    bent = RankFusion(SPACE, parts=(tabular(good), tabular(np.exp(poor / 3))))
    order = np.argsort(values_of(plain, cells))
    # Between two values of the population a bent scale moves a candidate by less than a rank.
    assert np.corrcoef(np.argsort(order), np.argsort(np.argsort(values_of(bent, cells))))[0, 1] > 0.999


def test_a_fusion_ranks_better_than_a_poor_score_and_a_learned_one_better_than_ranks(made_up):
    accuracy, good, poor = made_up
    parts = (tabular(good), tabular(poor))
    cells, truth = CELLS[::31], accuracy[::31]
    learned = FusionIndicator(SPACE, parts=parts, labels=Labels(of_cells(accuracy), 100)).seeded(1)
    quality = [
        np.corrcoef(values_of(item, cells), truth)[0, 1] for item in (parts[1], RankFusion(SPACE, parts=parts), learned)
    ]
    assert quality == sorted(quality)
    assert quality[-1] > 0.95


def test_a_score_that_points_the_wrong_way_is_turned_by_the_labels(made_up):
    accuracy, good, _ = made_up
    fused = FusionIndicator(SPACE, parts=(tabular(-good),), labels=Labels(of_cells(accuracy), 50))
    assert np.corrcoef(values_of(fused, CELLS[::31]), accuracy[::31])[0, 1] > 0.9


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_missing_and_infinite_values_count_as_the_worst_and_never_become_nan(made_up, share):
    accuracy, good, poor = made_up
    rng = np.random.default_rng(3)
    broken = np.where(rng.random(len(good)) < share, rng.choice([math.inf, -math.inf, math.nan], len(good)), good)
    for fused in (
        RankFusion(SPACE, parts=(tabular(broken), tabular(poor))),
        FusionIndicator(SPACE, parts=(tabular(broken), tabular(poor)), labels=Labels(of_cells(accuracy), 100)),
    ):
        found = values_of(fused, CELLS[::7])
        assert np.isfinite(found).all()
    first = np.flatnonzero(~np.isfinite(broken))[:1]
    if first.size:
        worse = RankFusion(SPACE, parts=(tabular(broken), tabular(poor)))
        better = RankFusion(SPACE, parts=(tabular(np.where(np.isfinite(broken), good, good.max())), tabular(poor)))
        cell = [CELLS[first[0]]]
        assert values_of(worse, cell)[0] < values_of(better, cell)[0]


def test_a_candidate_without_any_score_has_none(made_up):
    _, good, _ = made_up
    some = {cell.text: value for cell, value in zip(CELLS[:5000], good, strict=False)}
    fused = RankFusion(SPACE, parts=(Tabular(SPACE, values=some), Tabular(SPACE, values={})))
    known, unknown = fused.evaluate([CELLS[0], CELLS[-1]])
    assert known.cause is None
    assert "none of the fused scores" in unknown.cause


def test_ties_everywhere_are_no_trouble():
    flat = tabular(np.ones(len(CELLS)))
    assert len(set(values_of(RankFusion(SPACE, parts=(flat, flat)), CELLS[:50]))) == 1
    fused = FusionIndicator(SPACE, parts=(flat,), labels=Labels(of_cells(np.arange(len(CELLS))), 50))
    assert np.isfinite(values_of(fused, CELLS[:50])).all()


def test_labels_differ_by_seed_have_different_forms_and_lie_where_scores_are(made_up):
    accuracy, good, _ = made_up
    some = frozenset(cell.text for cell in CELLS[:6000])
    part = Tabular(SPACE, values={text: value for text, value in of_cells(good).items() if text in some})
    labels = Labels(of_cells(accuracy), 60)
    fused = [FusionIndicator(SPACE, parts=(part,), labels=labels).seeded(seed) for seed in (0, 1, 0)]
    drawn = [labels.draw(SPACE, item._seed, item._usable)[0] for item in fused]
    assert drawn[0] == drawn[2] != drawn[1]
    assert all(item.text in some for item in drawn[0])
    assert len({SPACE.canonical(item) for item in drawn[0]}) == 60


@pytest.mark.parametrize("kind", ["fi", "forest"])
def test_what_was_labelled_or_is_isomorphic_to_it_does_not_win(made_up, kind):
    accuracy, good, _ = made_up
    labels = Labels(of_cells(accuracy), 100)
    taught = (
        FusionIndicator(SPACE, parts=(tabular(good),), labels=labels) if kind == "fi" else Forest(SPACE, labels=labels)
    ).seeded(4)
    forms = {cell.text: SPACE.canonical(cell) for cell in CELLS}
    barred = {forms[cell.text] for cell in CELLS if not taught.may_win(cell)}
    assert len(barred) == 100
    assert sum(form in barred for form in forms.values()) > 100
    latency = of_cells(np.ones(len(CELLS)))
    problem = Problem(SPACE.name, (Constraint("latency", 2.0),), 400, 4)
    study = run_study(RandomSearch(SPACE, problem), taught, [TableCost("latency", latency)], problem)
    seen = [item for item in study.evaluations if forms[item.architecture.text] in barred]
    assert seen and all(item.feasible and item.score is not None and not item.may_win for item in seen)
    assert all(forms[item.architecture.text] not in barred for item in study.ranked)


def test_too_few_labels_are_said(made_up):
    accuracy, good, _ = made_up
    few = dict(list(of_cells(accuracy).items())[:30])
    with pytest.raises(UsageError, match="different labelled architectures") as caught:
        FusionIndicator(SPACE, parts=(tabular(good),), labels=Labels(few, 100, "table:v/a")).evaluate(CELLS[:1])
    assert "--label-budget" in caught.value.remedy


def test_the_process_is_a_weighted_sum_where_a_weighted_sum_is_right():
    rng = np.random.default_rng(2)
    inputs, asked = rng.normal(size=(60, 3)), 3 * rng.normal(size=(40, 3))
    weights = [2.0, 0.0, -1.0]
    process = fitted(inputs, inputs @ weights + 7 + rng.normal(0, 0.1, 60))
    # A Matern kernel alone would fall back to the mean so far outside.
    assert process.predict(asked) == pytest.approx(asked @ weights + 7, abs=0.5)


def test_the_process_learns_what_no_weighted_sum_can_say():
    rng = np.random.default_rng(3)
    inputs, asked = rng.normal(size=(100, 2)), rng.normal(size=(200, 2))
    process = fitted(inputs, -np.abs(inputs[:, 0]))
    assert np.corrcoef(process.predict(asked), -np.abs(asked[:, 0]))[0, 1] > 0.95


def test_labels_that_are_all_the_same_teach_nothing_and_break_nothing():
    rng = np.random.default_rng(4)
    found = fitted(rng.normal(size=(20, 3)), np.zeros(20)).predict(rng.normal(size=(5, 3)))
    assert found == pytest.approx(np.zeros(5), abs=1e-6)


def test_trees_predict_what_scikit_learn_predicts():
    from sklearn.ensemble import RandomForestRegressor

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(80, 5)).astype(np.float32)
    forest = RandomForestRegressor(20, random_state=1).fit(inputs, inputs[:, 0] * 3 + rng.normal(size=80))
    asked = rng.normal(size=(50, 5)).astype(np.float32)
    assert Trees.of(forest.estimators_)(asked) == pytest.approx(forest.predict(asked))


def test_a_forest_learns_from_labels_alone(made_up):
    accuracy = made_up[0]
    forest = Forest(SPACE, labels=Labels(of_cells(accuracy), 100)).seeded(0)
    assert np.corrcoef(values_of(forest, CELLS[::31]), accuracy[::31])[0, 1] > 0.7
