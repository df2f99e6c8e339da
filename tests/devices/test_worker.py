"""What the worker times: back to back, on a schedule, for as long as it takes to heat."""

import itertools
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.agent import _pace, _paced, _supervisor, _worker
from hilnas.records import MeasurementProtocol

PROTOCOL = {**MeasurementProtocol().to_json(), "min_warmup_s": 0.01, "min_measure_s": 0.03, "max_measure_s": 0.1}


class Scripted:
    """A backend and its model: calls that sleep."""

    def __init__(self, sleep_s=0.002, fails=""):
        self.sleep_s = sleep_s
        self.fails = fails
        self.calls = []

    def load(self, path, options):
        if self.fails == "load":
            raise RuntimeError("rejected")
        return self

    def run(self):
        if self.fails == "run":
            raise RuntimeError("crashed")
        self.calls.append(time.perf_counter())
        time.sleep(self.sleep_s)

    def facts(self):
        return {"scripted": True}


def invoke(backend, **changes):
    return _worker.invoke(backend, {"path": "x", "options": {}, "protocol": {**PROTOCOL, **changes}})


def test_back_to_back_samples_are_the_calls():
    found = invoke(Scripted())
    assert found["ok"] and found["model"] == {"scripted": True}
    assert min(found["samples_ns"]) >= 2_000_000
    assert found["stop"] in ("ci", "call_cap", "time_cap")


@pytest.mark.parametrize("stage", ["load", "run"])
def test_a_model_that_fails_is_an_answer(stage):
    found = invoke(Scripted(fails=stage))
    assert not found["ok"] and found["stage"] == stage and "RuntimeError" in found["cause"]


def test_a_program_of_its_own_is_asked_for_its_samples():
    class Outside(Scripted):
        def measure(self, protocol):
            return {"samples_ns": [5, 6], "busy_s": 0.1}

    found = invoke(Outside())
    assert found["samples_ns"] == [5, 6] and found["first_run_s"] == 0.0


def test_paced_calls_keep_their_schedule():
    backend = Scripted(0.001)
    found = invoke(backend, rate_hz=50.0, min_calls=16)
    starts = backend.calls[2:]  # the first run and the first of the warm-up stand for themselves
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert len(found["samples_ns"]) >= 16
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(0.02, rel=0.2)
    assert found["busy_s"] < 0.5 * found["paced_s"], "the idle time between calls is not busy"


def test_a_call_longer_than_its_slot_is_late_and_never_in_bursts():
    found = invoke(Scripted(0.03), rate_hz=100.0, min_calls=8, max_measure_s=0.3)
    assert found["late_calls"] >= 6
    assert min(found["samples_ns"]) >= 30_000_000


def test_a_sustained_load_shows_how_latency_goes():
    class Heating(Scripted):
        def run(self):
            self.calls.append(0)
            time.sleep(0.001 if len(self.calls) < 60 else 0.004)

    found = invoke(Heating(), sustained_s=0.5)
    timeline = found["timeline"]
    assert timeline[-1]["median_ns"] > 2 * timeline[0]["median_ns"]
    assert sum(item["calls"] for item in timeline) == len(found["samples_ns"])
    assert found["stop"] == "sustained" and 0.45 < timeline[-1]["t_s"] < 0.5


CALLS = st.lists(st.tuples(st.floats(0, 60), st.integers(1, 10**9)), min_size=1, max_size=200)


@given(CALLS)
def test_every_call_is_in_one_slice(calls):
    slices = _paced.timeline(calls, 60.0)
    assert sum(item["calls"] for item in slices) == len(calls)
    assert [item["t_s"] for item in slices] == sorted(item["t_s"] for item in slices)
    assert all(item["median_ns"] <= item["p90_ns"] for item in slices)


def test_a_long_record_is_thinned_evenly(monkeypatch):
    monkeypatch.setattr(_paced, "_MAX_SAMPLES", 10)
    found = invoke(Scripted(0.001), sustained_s=0.1)
    assert 5 <= len(found["samples_ns"]) <= 10
    assert sum(item["calls"] for item in found["timeline"]) > 20


def loops(monkeypatch, *took_ns):
    """Let the loops take these times one after the other, the last one for ever."""
    left = list(took_ns)
    monkeypatch.setattr(_pace, "loop_ns", lambda: left.pop(0) if len(left) > 1 else left[0])


def test_blocks_between_slow_loops_do_not_count(monkeypatch):
    loops(monkeypatch, 100, 140, 160, 100, 100)
    kept = _pace.FullPace(0)
    for i in range(4):
        kept.add([i])
    assert kept.blocks == [[0], [3]] and kept.medians == [0.0, 3.0]
    assert kept.dropped == 2 and kept.best_ns == 100


def test_a_faster_loop_puts_what_was_kept_in_question(monkeypatch):
    loops(monkeypatch, 200, 200, 200, 100, 100)
    kept = _pace.FullPace(0)
    for i in range(4):
        kept.add([i])
    assert kept.blocks == [[3]] and kept.dropped == 3
    loops(monkeypatch, 200)
    assert _pace.FullPace(100).best_ns == 100, "what earlier invocations have seen counts"


def test_time_in_dropped_blocks_is_lost(monkeypatch):
    loops(monkeypatch, 100, 100, 200, 200)
    kept = _pace.FullPace(0)
    kept.add([1])
    assert kept.lost_s < 0.01
    time.sleep(0.02)
    kept.add([2])
    assert kept.lost_s >= 0.02


def test_an_invocation_goes_on_until_it_has_enough_at_full_pace(monkeypatch):
    loops(monkeypatch, *[100, *[200] * 20, 100])
    found = invoke(Scripted(), pace_wait_s=60.0)
    assert found["stop"] in ("ci", "call_cap", "time_cap")
    assert found["slowed_blocks"] >= 20 and found["pace_ns"] == 100
    assert sum(found["samples_ns"]) >= PROTOCOL["min_measure_s"] * 0.8e9


def test_an_invocation_that_never_gets_the_full_pace_ends_as_slowed(monkeypatch):
    loops(monkeypatch, 200)
    found = invoke(Scripted(), pace_wait_s=0.2, pace_ns=100)
    assert found["stop"] == "slowed" and found["samples_ns"] and found["busy_s"] >= 0.2


def test_nobody_looks_at_the_pace_unasked(monkeypatch):
    monkeypatch.setattr(_pace, "loop_ns", lambda: pytest.fail("a loop was timed"))
    found = invoke(Scripted())
    assert found["slowed_blocks"] == found["pace_ns"] == 0


def test_the_shortest_loop_of_a_while():
    assert 0 < _pace.best_ns(0.05) <= _pace.loop_ns() * 2


class Invoked:
    """A template whose workers say which pace they have seen."""

    def __init__(self, *paces_ns):
        self.lines = self
        self.asked = []
        self._left = list(paces_ns)

    def send(self, task):
        self.asked.append(task["protocol"].get("pace_ns"))

    def answer(self, *_):
        return {"ok": True, "pace_ns": self._left.pop(0)}


def test_the_best_pace_of_a_session_is_handed_on(monkeypatch, tmp_path):
    monkeypatch.setattr(_pace, "best_ns", lambda seconds: 100)
    supervisor = _supervisor.Supervisor(None, str(tmp_path))
    supervisor._template = template = Invoked(90, 95, 0, 80)
    for wait_s in (1.0, 1.0, 0.0, 1.0):
        supervisor._invoke({"timeout_s": 1.0, "protocol": {"pace_wait_s": wait_s}})
    assert template.asked == [100, 90, None, 90]


def test_the_time_that_may_be_lost_is_no_reason_to_kill():
    usual = MeasurementProtocol()
    assert replace(usual, pace_wait_s=30.0).limit_s == usual.limit_s + 30.0
