"""The loop, studies and their figures."""

from dataclasses import replace

import pytest

from hilnas.errors import HilnasError
from hilnas.records import Constraint
from searchers._cost_models import TableCost
from searchers._figures import Figure, paired_difference
from searchers._loop import judged, run_study
from searchers._problem import Problem, Study
from searchers.dca_nas import DcaNas
from searchers.evaluators._base import Score
from searchers.evaluators.tabular import Tabular
from searchers.latency_reward_rl import LatencyRewardRL
from searchers.random_search import RandomSearch


def parts(toy, drop=()):
    """Return an evaluator and a cost model: score = sum of decisions, latency = 1 + first decision."""
    everything = [item for item in toy.enumerate() if item.text not in drop]
    scores = {item.text: float(sum(item.decisions)) for item in everything}
    latency = {item.text: 1.0 + item.decisions[0] for item in everything}
    return Tabular(toy, values=scores), [TableCost("latency", latency)]


def run(kind, toy, problem, drop=(), **options):
    evaluator, models = parts(toy, drop)
    return run_study(kind(toy, problem), evaluator, models, problem, **options)


def test_the_budget_is_kept_and_the_winner_is_the_best_feasible(toy, problem):
    study = run(RandomSearch, toy, problem(limit_s=3.0, evaluations=200))
    assert len(study.evaluations) == 200
    assert study.winner.architecture.text == "toy:212"
    assert study.winner.costs == {"latency": 3.0}
    assert all(item.feasible == (item.costs["latency"] <= 3.0) for item in study.evaluations)


def test_a_missing_entry_is_a_failed_evaluation_and_the_study_goes_on(toy, problem):
    study = run(RandomSearch, toy, problem(limit_s=3.0, evaluations=60), drop=("toy:212", "toy:211"))
    failed = [item for item in study.evaluations if item.cause is not None]
    assert {item.architecture.text for item in failed} == {"toy:212", "toy:211"}
    assert all(item.score is None and not item.feasible and "no entry" in item.cause for item in failed)
    assert study.failed == len(failed)
    assert study.winner.architecture.text in ("toy:202", "toy:112")


def test_a_dead_network_never_wins(toy, problem):
    evaluator, models = parts(toy)
    problem = problem(limit_s=1.5, evaluations=300)
    study = run_study(LatencyRewardRL(toy, problem), evaluator, models, problem)
    dead = [item for item in study.evaluations if item.architecture.decisions[0] == 0]
    assert dead
    assert all("does not depend on the input" in item.cause for item in dead)
    assert study.winner is None


@pytest.mark.parametrize("kind", [RandomSearch, LatencyRewardRL, DcaNas])
@pytest.mark.parametrize("cut", [0, 1, 7, 16, 20])
def test_a_study_that_goes_on_ends_as_if_it_had_never_stopped(toy, problem, kind, cut):
    whole = run(kind, toy, problem(seed=5))
    seen = []
    resumed = run(kind, toy, problem(seed=5), recorded=whole.evaluations[:cut], watch=seen.extend)
    assert resumed.evaluations == whole.evaluations
    assert tuple(seen) == whole.evaluations[cut:]


def test_a_record_of_another_search_is_refused(toy, problem):
    other = run(RandomSearch, toy, problem(seed=6))
    with pytest.raises(HilnasError, match="cannot be resumed"):
        run(RandomSearch, toy, problem(seed=5), recorded=other.evaluations)


def test_rewards_are_recorded_with_the_evaluations(toy, problem):
    study = run(LatencyRewardRL, toy, problem())
    assert all(item.reward is not None and 0 <= item.reward <= 1 for item in study.evaluations)
    assert all(item.reward is None for item in run(RandomSearch, toy, problem()).evaluations)


def test_each_architecture_is_judged_once(toy, problem):
    evaluator, models = parts(toy)
    asked = []
    inner = evaluator.evaluate
    evaluator.evaluate = lambda items: asked.extend(items) or inner(items)
    study = run_study(RandomSearch(toy, problem()), evaluator, models, problem(evaluations=120))
    assert len(asked) == len(set(asked)) == study.distinct == 18


def test_a_score_without_cost_keeps_the_score_and_fails(toy, problem):
    from searchers._cost_models import Cost

    item = judged(problem(), toy.parse("111"), Score(3.0), {"latency": Cost.missing("no latency")})
    assert (item.score, item.feasible, item.cause, item.costs) == (3.0, False, "no latency", {})


def test_the_bound_decides_and_the_guess_is_kept(toy, problem):
    from searchers._cost_models import Cost

    cost = Cost(1.0, 0.9, 1.1, bound=2.5, provenance="model")
    item = judged(problem(limit_s=2.0), toy.parse("111"), Score(3.0), {"latency": cost})
    assert not item.feasible
    assert item.costs == {"latency": 1.0}
    assert item.bounds == {"latency": 2.5}


def test_equal_scores_go_to_the_earlier_one(toy, evaluation, problem):
    items = (evaluation("111", 1.0), evaluation("211", 4.0), evaluation("311", 4.0), evaluation("211", 4.0))
    study = Study("s", problem(evaluations=4), items)
    assert [item.architecture.text for item in study.ranked] == ["toy:211", "toy:311", "toy:111"]


def test_shares_count_every_evaluation(evaluation, problem):
    fast, slow = evaluation("111", latency_s=1.0), evaluation("211", latency_s=3.0)
    study = Study("s", problem(evaluations=10), (slow,) * 4 + (fast,) * 4 + (slow, fast))
    assert study.feasible_share == 0.5
    assert study.late_feasible_share == 0.5
    assert study.distinct == 2


def test_evaluations_cannot_contradict_themselves(evaluation):
    with pytest.raises(ValueError, match="cause"):
        replace(evaluation(), score=None)
    with pytest.raises(ValueError, match="feasible"):
        replace(evaluation(), cause="broken")
    with pytest.raises(ValueError, match="at least one"):
        Problem("toy", (Constraint("latency", 1.0),), 0, 0)
    with pytest.raises(ValueError, match="finite"):
        Score(float("nan"))
    with pytest.raises(ValueError, match="finite"):
        Score(1.0, "a cause")


def test_figures_leave_out_seeds_without_a_value():
    figure = Figure.of([1.0, None, 3.0])
    assert (figure.mean, figure.per_seed) == (2.0, (1.0, None, 3.0))
    assert figure.sd == pytest.approx(2**0.5)
    assert Figure.of([None]) == Figure(None, None, (None,))
    assert Figure.of([4.0]).sd is None


def test_paired_difference_agrees_with_scipy():
    from scipy.stats import ttest_rel

    first, second = [1.0, 2.5, 2.0, 4.0, 9.0], [0.5, 2.0, 2.5, 3.0, None]
    found = paired_difference(first, second)
    interval = ttest_rel(first[:4], second[:4]).confidence_interval(0.95)
    assert found.n == 4
    assert (found.lower, found.upper) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx(0.375)


def test_paired_difference_of_one_or_no_pair():
    assert paired_difference([None], [1.0]) is None
    single = paired_difference([3.0], [1.0])
    assert (single.mean, single.lower, single.upper, single.n) == (2.0, None, None, 1)


def test_a_failed_evaluation_may_have_a_score_but_never_a_nan():
    with pytest.raises(ValueError, match="finite"):
        Score(float("inf"))
    assert Score.of(float("nan")).cause
