"""What an invocation tells beside its times: further readings of the model, host memory, the times of layers."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from devices._config import DeviceConfig
from devices._runs import run_of
from devices._untrusted import Answer
from devices.agent import _layers, _memory, _worker
from devices.agent.backends import onnxruntime as backend
from devices.local_cpu import LocalCpu
from hilnas.deadline import Deadline
from hilnas.records import Artifact, MeasurementProtocol, Workload
from search_spaces._onnx import to_onnx
from search_spaces.nasbench201 import NasBench201

WORKLOAD = Workload("model:x", "model", (1, 3, 32, 32))
QUICK = replace(MeasurementProtocol(), min_warmup_s=0.01, min_measure_s=0.02, max_measure_s=0.05, timeout_s=20.0)


@pytest.fixture(autouse=True)
def _own_leases(tmp_path, monkeypatch):
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")


@pytest.fixture
def path(tmp_path):
    space = NasBench201(width=8, depth=1)
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(space.graph(space.sample_distinct(1, 0)[0])))
    return str(path)


class Scripted:
    """A backend and its model, which answers at once."""

    def __init__(self, readings=None, layers=None):
        self._said = readings
        if readings is not None:
            self.readings = lambda: self._said
        if layers is not None:
            self.profile_layers = lambda calls: {"calls_s": [0.002] * calls, "layers": layers}

    def load(self, path, options):
        return self

    def run(self):
        sum(range(100))

    def facts(self):
        return {"scripted": True, "energy": "forged", "profile": 1}


def invoke(scripted, **changes):
    return _worker.invoke(scripted, {"path": "x", "options": {}, "protocol": {**QUICK.to_json(), **changes}})


def run_from(answer, purpose="latency"):
    line = json.loads(json.dumps({"id": 1, **answer, "elapsed_s": answer["wall_s"]}))
    return run_of(WORKLOAD, Answer.model_validate(line), purpose, 1, 4.0)


def test_what_ran_below_the_full_pace_is_rejected_and_kept():
    answer = {**invoke(Scripted()), "stop": "slowed", "slowed_blocks": 7, "pace_ns": 90}
    run = run_from(answer)
    assert run.status == "rejected" and run.transient and run.cause.startswith("slowed: 7 blocks")
    assert run.values() and run.facts["slowed_blocks"] == 7 and run.facts["pace_ns"] == 90
    forged = {**invoke(Scripted()), "model": {"pace_ns": 1, "slowed_blocks": 2}}
    assert not {"pace_ns", "slowed_blocks"} & set(run_from(forged).facts)


# Further readings


def test_readings_of_a_model_become_readings_of_the_run():
    found = run_from(invoke(Scripted({"event_latency_s": (1e-3, 2e-3), "gpu_peak_bytes": [1 << 30], "empty_s": []})))
    assert found.values("event_latency_s") == (1e-3, 2e-3)
    assert found.values("gpu_peak_bytes") == (float(1 << 30),)
    assert {"latency_s", "load_s", "first_run_s", "event_latency_s"} <= {item.metric for item in found.readings}
    assert "empty_s" not in {item.metric for item in found.readings}


def test_too_many_values_are_thinned_evenly():
    found = invoke(Scripted({"a_s": range(150_000), "b_s": range(150_000)}))["readings"]
    assert len(found["a_s"]) == len(found["b_s"]) == 50_000 and found["a_s"][:3] == [0.0, 3.0, 6.0]


def test_readings_that_cannot_be_had_fail_the_invocation():
    class Broken(Scripted):
        def readings(self):
            raise RuntimeError("the driver has gone")

    found = invoke(Broken())
    assert not found["ok"] and found["stage"] == "run" and "the driver has gone" in found["cause"]


@pytest.mark.parametrize(
    "readings",
    [
        {"latency": [1.0]},
        {"latency_s": [1.0]},
        {"energy_j": [1.0]},
        {"peak_bytes": [1.0]},
        {"Event_s": [1.0]},
        {"a;DROP TABLE_s": [1.0]},
        {"x" * 60 + "_s": [1.0]},
        {"a_s": [float("inf")]},
        {"a_s": [1e300]},
        {"a_s": ["1"]},
        {"a_s": [True, None]},
        {"a_s": [0.0] * 100_001},
        {"_".join("a" * i) + "a_s": [1.0] for i in range(1, 18)},
        [1.0],
    ],
)
def test_readings_of_another_form_are_refused(readings):
    with pytest.raises(ValidationError):
        Answer.model_validate({"id": 1, "ok": True, "readings": readings})


NAMES = st.from_regex(r"[a-z]{1,20}_(s|j|bytes|hz|w)", fullmatch=True)


@given(st.dictionaries(NAMES, st.lists(st.floats(-1e17, 1e17), max_size=5), max_size=16))
def test_readings_of_the_right_form_come_through_unchanged(readings):
    ours = {"latency_s", "load_s", "energy_j", "power_w"}
    readings = {name: values for name, values in readings.items() if name not in ours}
    assert Answer.model_validate({"id": 1, "ok": True, "readings": readings}).readings == readings


def test_a_model_cannot_forge_what_the_session_derives():
    found = run_from(invoke(Scripted()))
    assert found.facts["scripted"] is True and "energy" not in found.facts and "profile" not in found.facts


# Memory


def in_a_child(work):
    """Return what a function returns in a forked child, as JSON."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_fd, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def allocate(size_bytes):
    return bytearray(os.urandom(1)) * size_bytes  # every page is written


@pytest.mark.parametrize("may_set_back", [True, False])
def test_the_peak_is_what_was_used_on_top_of_the_baseline(monkeypatch, may_set_back):
    if not may_set_back:
        monkeypatch.setattr(_memory, "_set_back", lambda: False)

    def work():
        kept = allocate(30 << 20)
        if may_set_back:
            del kept  # used and given back before: no part of the peak
        peak = _memory.Peak()
        size = len(allocate(80 << 20))
        return [size, peak.report()]

    size, found = in_a_child(work)
    batches = 1 << 20  # the kernel counts pages per core and adds them up in batches
    assert size - batches <= found["peak_bytes"] < size + (6 << 20)
    assert found["absolute_bytes"] == found["baseline_bytes"] + found["peak_bytes"]
    assert "VmHWM" in found["method"] and ("set back" in found["method"]) == may_set_back


def test_where_the_kernel_tells_nothing_only_the_absolute_peak_is_said(monkeypatch):
    monkeypatch.setattr(_memory, "_status_bytes", lambda name: None)
    found = _memory.Peak().report()
    assert found["absolute_bytes"] > 1e6 and "peak_bytes" not in found and found["method"] == "ru_maxrss"
    run = run_from({**invoke(Scripted()), "memory": found})
    assert run.values("peak_bytes") == () and run.values("process_peak_bytes") == (float(found["absolute_bytes"]),)


def test_a_model_with_larger_activations_needs_more_memory(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def wide(size):
        import numpy as np

        shape = numpy_helper.from_array(np.array([1, size], np.int64), "shape")
        nodes = [helper.make_node("Expand", ["x", "shape"], ["w"]), helper.make_node("ReduceMax", ["w"], ["y"])]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in "xy"]
        model = helper.make_model(
            helper.make_graph(nodes, "wide", ends[:1], ends[1:], [shape]),
            opset_imports=[helper.make_opsetid("", 15)],
            ir_version=8,
        )
        path = tmp_path / f"{size}.onnx"
        onnx.save(model, str(path))
        return Artifact(Workload(f"model:{size}", "model", (1, 1)), "onnxruntime", "x", 1, str(path))

    with LocalCpu(DeviceConfig(name="cpu", kind="local_cpu")).session(Deadline.after(60)) as session:
        small, large = (session.measure(wide(size), QUICK) for size in (1 << 20, 17 << 20))
    grown = large.values("peak_bytes")[0] - small.values("peak_bytes")[0]
    wider = 16 * 4 * 2**20
    assert 0.98 * wider < grown < 3 * wider, "the wider tensor, and at most two of the runtime's own copies"
    assert large.facts["memory"]["baseline_bytes"] > 1e6


# Layers


def event(name, dur, ts, operator="Conv", category="Node", **more):
    arguments = {"op_name": operator, "provider": "CPUExecutionProvider", "node_index": "1", **more}
    return {"cat": category, "name": name, "dur": dur, "ts": ts, "args": arguments}


def call(ts):
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": 50}


def test_layers_are_taken_from_a_profile_call_by_call():
    events = [call(0), event("a_kernel_time", 99, 1)]  # the call that is left out
    for start, dur in ((100, 4), (200, 6), (300, 8)):
        events += [event("a_fence_before", 1, start), event("a_kernel_time", dur, start + 1), call(start)]
        events += [event("b_kernel_time", 1, start + 20, "Add"), event("b_kernel_time", 2, start + 22, "Add")]
        events += [event("loop_kernel_time", 40, start + 2, "Loop")]
    first, second = _layers.of_onnxruntime(json.dumps(events), skipped=1)
    assert (first["name"], first["operator"], first["times_s"]) == ("a", "Conv", pytest.approx([4e-6, 6e-6, 8e-6]))
    assert second["times_s"] == pytest.approx([3e-6] * 3), "twice in a call: the sum; a loop stands for its nodes"


@pytest.mark.parametrize("text", ["", "[]", "{}", '[{"cat":"Node"}]', "[1,2]", json.dumps([call(0)]), "x" * 100])
def test_a_profile_of_another_form_is_refused(text):
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        _layers.of_onnxruntime(text, skipped=1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(2, 20))
def test_the_cheapest_layers_are_put_together_and_no_time_is_lost(times, most):
    layers = [{"name": str(i), "operator": "x", "provider": "y", "times_s": [t]} for i, t in enumerate(times)]
    usual, _layers._MAX_LAYERS = _layers._MAX_LAYERS, most
    try:
        found = _layers.summed_up(layers)
    finally:
        _layers._MAX_LAYERS = usual
    assert len(found) == min(len(times), most)
    assert sum(row["median_s"] for row in found) == pytest.approx(sum(times))


def test_a_real_profile_names_every_node_once(path):
    import onnx

    options = {"optimization": "none"}
    backend.prepare(options)
    found = backend.load(path, options).profile_layers(20)
    assert len(found["calls_s"]) == 20 and all(len(layer["times_s"]) == 20 for layer in found["layers"])
    assert [layer["operator"] for layer in found["layers"]].count("Conv") == [
        node.op_type for node in onnx.load(path).graph.node
    ].count("Conv")
    total_s = sum(sum(layer["times_s"]) for layer in found["layers"])
    assert 0 < total_s < sum(found["calls_s"]), "layers are parts of the calls"


def test_layers_come_through_the_agent_as_facts_of_a_run_of_their_own(path):
    artifact = Artifact(WORKLOAD, "onnxruntime", "x", 1, path)
    with LocalCpu(DeviceConfig(name="cpu", kind="local_cpu")).session(Deadline.after(60)) as session:
        run = session.measure(artifact, replace(QUICK, purpose="layers"))
    profile = run.facts["profile"]
    assert run.status in ("ok", "rejected") and not run.values("latency_s")
    assert profile["calls"] == 20 and profile["profiled_s"] > 0 and profile["plain_s"] > 0
    assert {"name", "operator", "provider", "median_s"} == set(profile["layers"][0])
    assert {layer["provider"] for layer in profile["layers"]} == {"CPUExecutionProvider"}


def test_a_backend_without_a_profile_says_so():
    found = invoke(Scripted(), purpose="layers")
    assert (found["ok"], found["stage"]) == (False, "layers") and found["cause"].startswith("n/a: ")


def test_a_backend_that_times_itself_has_no_energy():
    class Outside(Scripted):
        def measure(self, protocol):
            raise AssertionError("never asked")

    found = invoke(Outside(), purpose="energy")
    assert (found["ok"], found["stage"]) == (False, "energy") and found["cause"].startswith("n/a: ")


LAYER = {"name": "a", "operator": "Conv", "provider": "cpu", "times_s": [0.5, 0.25, 0.25]}


def test_a_scripted_profile_becomes_facts():
    found = run_from(invoke(Scripted(layers=[LAYER, {**LAYER, "name": "\x1b[2Jb"}]), purpose="layers"), "layers")
    first, second = found.facts["profile"]["layers"]
    assert first == {"name": "a", "operator": "Conv", "provider": "cpu", "median_s": 0.25}
    assert second["name"].isprintable() and found.facts["profile"]["profiled_s"] == 0.002


@pytest.mark.parametrize(
    "layers",
    [
        [{"name": "a", "median_s": -1}],
        [{"name": "a", "median_s": float("nan")}],
        [{"name": "a"}],
        [{"name": "a" * 5000, "median_s": 1}],
        [{"name": "a", "median_s": 1}] * 2001,
        {"a": 1},
    ],
)
def test_layers_of_another_form_are_refused(layers):
    with pytest.raises(ValidationError):
        Answer.model_validate({"id": 1, "ok": True, "layers": layers})


@pytest.mark.parametrize("purpose", ["latency", "energy", "layers"])
def test_an_answer_without_what_was_asked_for_is_a_failed_run(purpose):
    run = run_of(WORKLOAD, Answer.model_validate({"id": 1, "ok": True}), purpose, 1, 1.0)
    assert run.status == "failed" and run.transient and run.cause.startswith("agent: an answer without ")


ENERGY = {"sensor": "x", "scope": "module", "method": "power", "update_s": 0.1, "active_j": 5.0, "calls": 10}


@pytest.mark.parametrize(
    "change",
    [{"calls": 0}, {"active_s": 0}, {"active_j": -1}, {"active_j": 1e400}, {"scope": "a b"}, {"method": "guess"}],
)
def test_energy_of_another_form_is_refused(change):
    assert Answer.model_validate({"id": 1, "ok": True, "energy": ENERGY}).energy.active_j == 5.0
    with pytest.raises(ValidationError):
        Answer.model_validate({"id": 1, "ok": True, "energy": {**ENERGY, **change}})
