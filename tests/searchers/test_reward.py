"""The paper's reward and the scaling of scores."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.errors import UsageError
from hilnas.records import Architecture, Constraint
from searchers._problem import Evaluation, Problem
from searchers._reward import SCALES, Reward, limit_reward, limits_reward

positive = st.floats(1e-6, 1e6)
share = st.floats(0, 1)
scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.04, 1.0), (0.08, 0.5), (0.05, 0.8), (0.02, 0.95), (0.03, 0.975), (0.0, 0.9)]
)
def test_values_worked_out_by_hand_at_40_ms_and_alpha_0_9(value, expected):
    assert limit_reward(value, 0.04, 0.9) == pytest.approx(expected, abs=1e-12)


@given(positive, share)
def test_continuous_at_the_limit(limit, alpha):
    assert limit_reward(limit, limit, alpha) == pytest.approx(1.0)
    assert limit_reward(limit * (1 + 1e-9), limit, alpha) == pytest.approx(1.0, abs=1e-8)


@given(positive, positive, share)
def test_bounded_and_highest_at_the_limit(value, limit, alpha):
    reward = limit_reward(value, limit, alpha)
    assert 0 <= reward <= 1 + 1e-12
    if value <= limit:
        assert reward >= alpha - 1e-12


@given(positive, positive, positive)
def test_rises_up_to_the_limit_and_falls_beyond(one, other, limit):
    low, high = sorted((one, other))
    first, second = (limit_reward(value, limit, 0.9) for value in (low, high))
    if high <= limit:
        assert first <= second + 1e-12
    if low > limit:
        assert first >= second


@given(positive, positive, st.floats(1e-3, 1e3))
def test_does_not_depend_on_the_unit(value, limit, factor):
    assert limit_reward(value * factor, limit * factor, 0.9) == pytest.approx(limit_reward(value, limit, 0.9))


def test_several_limits_multiply(evaluation):
    both = Problem("toy", (Constraint("latency", 1.0), Constraint("macs", 10.0)), 5, 0)
    bounds = {"latency": 2.0, "macs": 40.0}
    item = replace(evaluation(), bounds=bounds, feasible=False)
    assert limits_reward(both, item, 0.9) == pytest.approx(0.5 * 0.25)


def test_no_limit_is_reward_1_and_a_missing_value_reward_0(evaluation, problem):
    assert limits_reward(Problem("toy", (), 5, 0), evaluation(), 0.9) == 1.0
    missing = replace(evaluation(), bounds={}, feasible=False, cause="no entry")
    assert limits_reward(problem(), missing, 0.9) == 0.0


@pytest.mark.parametrize("name", SCALES)
class TestScales:
    @given(values=scores)
    def test_in_the_unit_interval_and_in_order(self, name, values):
        scale = SCALES[name](values)
        scaled = [scale.scaled(value) for value in sorted(values)]
        assert all(0 <= value <= 1 for value in scaled)
        assert scaled == sorted(scaled)

    @given(values=scores)
    def test_adding_one_by_one_is_the_same_as_all_at_once(self, name, values):
        grown = SCALES[name]()
        for value in values:
            grown.add(value)
        assert grown.scaled(values[0]) == SCALES[name](values).scaled(values[0])

    def test_one_score_alone_is_in_the_middle(self, name):
        assert SCALES[name]([-3.0]).scaled(-3.0) == 0.5


def test_rank_counts_ties_half_and_ignores_distances():
    scale = SCALES["rank"]([0.0, 1.0, 1.0, 1e9])
    assert [scale.scaled(value) for value in (0.0, 1.0, 1e9)] == [0.125, 0.5, 0.875]


def test_minmax_keeps_distances():
    scale = SCALES["minmax"]([-10.0, 0.0, 30.0])
    assert [scale.scaled(value) for value in (-10.0, 0.0, 30.0)] == [0.0, 0.25, 1.0]
    assert math.isclose(scale.scaled(10.0), 0.5)


def rewarded(problem, kind, items, **options):
    reward = Reward(problem, kind, **{"alpha": 0.9, "scale": "rank", "floor": 0.85, **options})
    reward.learn(items)
    return [reward.of(item) for item in items]


@given(
    candidates=st.lists(st.tuples(st.floats(-1e300, 1e300), st.floats(1e-3, 1e3)), min_size=2, max_size=12),
    scale=st.sampled_from(sorted(SCALES)),
)
def test_strict_puts_all_that_break_a_limit_below_all_that_keep_it(candidates, scale):
    limited = Problem("toy", (Constraint("latency", 2.0), Constraint("macs", 5.0)), 5, 0)
    items = []
    for i, (score, value) in enumerate(candidates):
        bounds = {"latency": value, "macs": 4.0}
        architecture = Architecture("toy", (i,), f"toy:{i}")
        items.append(Evaluation(architecture, score, bounds, bounds, limited.feasible(bounds)))
    rewards = rewarded(limited, "strict", items, scale=scale)
    assert all(0 <= reward <= 1 for reward in rewards)
    kept = [reward for reward, item in zip(rewards, items, strict=True) if item.feasible]
    broken = [reward for reward, item in zip(rewards, items, strict=True) if not item.feasible]
    if kept and broken:
        assert max(broken) < min(kept)


def test_the_kinds_differ_in_what_lies_beyond_the_limit_only(evaluation, problem):
    items = [evaluation("111", 1.0, 1.0), evaluation("211", 9.0, 4.0)]
    paper, strict, none = (rewarded(problem(limit_s=2.0), kind, items) for kind in ("paper", "strict", "none"))
    assert paper[0] == strict[0] == pytest.approx(none[0] * 0.95)
    assert paper[1] == pytest.approx(none[1] * 0.5)
    assert strict[1] == pytest.approx(paper[1] * 0.85 * 0.9)


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"floor": 0.0}])
def test_strict_needs_room_below_what_is_feasible(problem, options):
    with pytest.raises(UsageError, match="strict"):
        rewarded(problem(), "strict", [], **options)
