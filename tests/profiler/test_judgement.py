"""What invocations say together."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.records import MeasurementProtocol, Workload
from profiler._judgement import Invocation, drifted, judge, mark_drift, noise_floor

WORKLOAD = Workload("nasbench201:x", "architecture", (1, 3, 32, 32))
PROTOCOL = MeasurementProtocol()


def good(medians, attempt=1, start=0):
    return [Invocation(start + i, attempt, "ok", value) for i, value in enumerate(medians)]


def doubtful(n, attempt=1, start=0):
    return [Invocation(start + i, attempt, "rejected", 1.0, "contended: others", True) for i in range(n)]


def test_nothing_invoked_is_not_done():
    assert judge(WORKLOAD, [], PROTOCOL).done is False


def test_few_narrow_invocations_are_enough():
    verdict = judge(WORKLOAD, good([1.0, 1.001, 1.002, 0.999, 1.0]), PROTOCOL)
    assert verdict.done and verdict.measurement.status == "ok"
    assert verdict.measurement.latency_s == 1.0
    assert (verdict.measurement.lower_s, verdict.measurement.upper_s) == (0.999, 1.002)
    assert verdict.measurement.confidence == pytest.approx(0.9375)


def test_wide_ones_need_more_and_then_are_rejected_and_measured_again():
    wide = [1.0, 1.3] * 6
    assert judge(WORKLOAD, good(wide[:6]), PROTOCOL).done is False
    verdict = judge(WORKLOAD, good(wide), PROTOCOL)
    assert (verdict.done, verdict.attempt, verdict.measurement.status) == (False, 2, "rejected")
    last = [*good(wide), *good(wide, 2, 12), *good(wide, 3, 24)]
    verdict = judge(WORKLOAD, last, PROTOCOL)
    assert verdict.done and verdict.measurement.status == "rejected" and "unsteady" in verdict.measurement.cause
    again = [*good(wide), *good([1.0] * 5, 2, 12)]
    assert judge(WORKLOAD, again, PROTOCOL).measurement.status == "ok"


def test_doubtful_invocations_are_not_used():
    mixed = [*doubtful(4), *good([2.0] * 4, start=4)]
    assert judge(WORKLOAD, mixed, PROTOCOL).done is False
    verdict = judge(WORKLOAD, [*mixed, *good([2.0], start=8)], PROTOCOL)
    assert verdict.done and verdict.measurement.latency_s == 2.0 and verdict.measurement.invocations == 5


def test_nothing_but_doubt_is_rejected_after_three_attempts():
    n = 2 * PROTOCOL.max_invocations
    verdict = judge(WORKLOAD, doubtful(n), PROTOCOL)
    assert not verdict.done and verdict.attempt == 2
    every = [item for attempt in (1, 2, 3) for item in doubtful(n, attempt, attempt * n)]
    verdict = judge(WORKLOAD, every, PROTOCOL)
    assert verdict.done and verdict.measurement.status == "rejected" and "contended" in verdict.measurement.cause


def test_a_stable_failure_ends_it_and_a_transient_one_after_three():
    stable = [Invocation(0, 1, "failed", None, "load: bad model")]
    verdict = judge(WORKLOAD, stable, PROTOCOL)
    assert verdict.done and verdict.measurement.status == "failed" and verdict.measurement.latency_s is None
    crashes = [Invocation(i, 1, "failed", None, "killed", True) for i in range(3)]
    assert not judge(WORKLOAD, crashes[:2], PROTOCOL).done
    assert judge(WORKLOAD, crashes, PROTOCOL).measurement.status == "failed"
    recovered = [*crashes[:2], *good([1.0] * 5, start=2)]
    assert judge(WORKLOAD, recovered, PROTOCOL).measurement.status == "ok"


@given(st.lists(st.floats(0.5, 2.0), max_size=30))
def test_an_ok_verdict_always_has_a_bearable_interval_around_its_median(medians):
    verdict = judge(WORKLOAD, good(medians), PROTOCOL)
    found = verdict.measurement
    if verdict.done and found.status == "ok":
        assert found.lower_s <= found.latency_s <= found.upper_s
        assert found.relative_half_width <= PROTOCOL.reject_half_width


def test_the_intervals_of_simulated_workloads_cover_the_truth():
    rng = np.random.default_rng(0)
    wide = replace(PROTOCOL, min_invocations=8, max_invocations=8, reject_half_width=1.0)
    hits, confidence = 0, 0.0
    for _ in range(1000):
        found = judge(WORKLOAD, good(np.exp(rng.normal(0, 0.02, 8)).tolist()), wide).measurement
        hits += found.lower_s <= 1.0 <= found.upper_s
        confidence = found.confidence
    assert abs(hits / 1000 - confidence) < 0.03


def test_the_noise_floor_is_the_relative_deviation_of_the_sentinel():
    assert noise_floor(good([1.0, 1.0])) is None
    assert noise_floor(good([0.9, 1.0, 1.1])) == pytest.approx(0.1)


def test_drift_is_seen_between_sentinels_and_a_single_outlier_is_not():
    for place in (0, 4):
        outlier = [Invocation(20 * i, 1, "ok", 1.3 if i == place else 1.0) for i in range(10)]
        assert drifted(outlier, 0.05) == []
    slow = [Invocation(20 * i, 1, "ok", 1.2 if 4 <= i <= 6 else 1.0) for i in range(10)]
    stretches = drifted(slow, 0.05)
    marked = mark_drift(good([1.0] * 200), stretches)
    rejected = {item.sequence for item in marked if item.status == "rejected"}
    assert {81, 99, 101, 119} <= rejected and not {1, 50, 150, 199} & rejected
    assert all("drift" in item.cause for item in marked if item.status == "rejected")


def test_what_was_measured_in_calm_does_not_drift_from_the_noise_that_followed():
    levels = [1.0] * 12 + [1.12, 1.2, 1.35, 1.5, 1.25, 1.6, 1.15, 1.4, 1.3, 1.12, 1.45, 1.2, 1.33, 1.5, 1.6, 1.27]
    stretches = drifted([Invocation(20 * i, 1, "ok", level) for i, level in enumerate(levels)], 0.05)
    assert all(start >= 20 * 10 for start, _ in stretches)
    assert stretches[-1][1] == float("inf")


@given(st.lists(st.floats(0.5, 2.0), min_size=3, max_size=30), st.integers(-20, 20))
def test_drift_depends_on_ratios_alone(medians, exponent):
    plain, scaled = (
        drifted([Invocation(i, 1, "ok", value * unit) for i, value in enumerate(medians)], 0.05)
        for unit in (1.0, 2.0**exponent)
    )
    assert plain == scaled
