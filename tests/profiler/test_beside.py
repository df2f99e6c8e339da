"""Campaigns that measure more than latency: energy, memory, layers; what is not available and why."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices._config import DeviceConfig, EnergyOptions, FakeOptions
from devices.fake import FakeSession, true_latency_s
from hilnas.errors import UsageError
from hilnas.records import MeasurementProtocol, MetricValue, Reading, Run, Workload
from profiler._beside import with_beside
from profiler._campaign import measure, resume
from profiler._export import jsonl_rows, measurement_rows, metric_summary, shown_rows, shown_summary
from profiler._judgement import Invocation, judge_beside
from profiler._layers import LayerProfile
from profiler._metrics import Recorded, metric_values
from profiler._plan import load_space, sample_workloads
from profiler._workspace import Workspace

ENERGY = with_beside(MeasurementProtocol(), EnergyOptions(), energy=True)
BOTH = with_beside(MeasurementProtocol(), EnergyOptions(), energy=True, per_layer=True)
PROFILE = {
    "layers": [
        {"name": "a", "operator": "Conv", "provider": "cpu", "median_s": 3e-4},
        {"name": "b", "operator": "Add", "provider": "cpu", "median_s": 1e-4},
    ],
    "calls": 20,
    "plain_s": 5e-4,
    "profiled_s": 6e-4,
}


@pytest.fixture(autouse=True)
def _own_leases(tmp_path, monkeypatch):
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")


@pytest.fixture
def workspace(tmp_path):
    with Workspace.open(tmp_path / "w") as opened:
        yield opened


def fake(**script):
    return DeviceConfig(name="fake", kind="fake", fake=FakeOptions(**script))


def some(n, seed=0):
    return sample_workloads(load_space("nasbench201"), n, seed)


def scripted(monkeypatch, answer):
    """Let a function answer invocations beside latency; return what was asked for."""
    original, asked = FakeSession.measure, []

    def measured(self, artifact, protocol):
        if protocol.purpose == "latency":
            return original(self, artifact, protocol)
        asked.append((protocol.purpose, artifact.workload.key))
        return answer(artifact.workload, protocol.purpose, len(asked))

    monkeypatch.setattr(FakeSession, "measure", measured)
    return asked


def ok(workload, energy_j):
    return Run(workload, "ok", (Reading("energy_j", (energy_j,)),))


def test_energy_is_measured_once_a_workload_after_the_latencies(workspace):
    config = fake(power_w=4.0, idle_power_w=1.0)
    done = measure(workspace, config, some(5), protocol=ENERGY)
    for found in done.measurements:
        true_s = true_latency_s(config.fake, found.workload)
        assert found.metrics["energy_j"] == MetricValue(pytest.approx(4.0 * true_s), 1)
        assert found.metrics["net_energy_j"].value == pytest.approx(3.0 * true_s)
        assert found.invocations >= 5, "energy is no invocation of latency"
    recorded = workspace.store.recorded(done.run_id)
    last_latency = max(x.sequence for items in recorded.values() for x in items if x.purpose == "latency")
    energies = [x for items in recorded.values() for x in items if x.purpose == "energy"]
    assert len(energies) == 5 and min(x.sequence for x in energies) > last_latency


def test_without_being_asked_for_nothing_more_is_measured(workspace):
    done = measure(workspace, fake(power_w=4.0), some(2))
    assert all(not item.metrics for item in done.measurements)
    assert {x.purpose for items in workspace.store.recorded(done.run_id).values() for x in items} == {"latency"}


def test_a_device_without_a_sensor_has_a_reason_and_good_latencies(workspace):
    done = measure(workspace, fake(), some(3), protocol=BOTH)
    assert done.summary.ok == 3 and done.summary.state == "finished"
    for item in done.measurements:
        assert item.metrics["energy_j"] == MetricValue(None, 0, "energy: n/a: the script has no power_w")
    assert workspace.store.layer_profiles(done.run_id) == []
    (row, *_) = measurement_rows(done.measurements)
    assert row["energy_j"] is None and row["not_available"].startswith("energy_j: energy: n/a")
    assert shown_summary(done.measurements)[0] == ("energy", "n/a", 0, "energy: n/a: the script has no power_w")


def test_what_goes_wrong_for_a_moment_is_tried_three_times(workspace, monkeypatch):
    def answer(workload, purpose, n):
        if n < 3:
            return Run(workload, "rejected", cause="energy: rapl: silent", transient=True)
        return ok(workload, 0.5)

    asked = scripted(monkeypatch, answer)
    done = measure(workspace, fake(), some(1), protocol=ENERGY)
    assert len(asked) == 3 and done.measurements[0].metrics["energy_j"].value == 0.5
    asked = scripted(monkeypatch, lambda workload, purpose, n: Run(workload, "rejected", cause="no", transient=True))
    done = measure(workspace, fake(), some(1), protocol=ENERGY)
    assert len(asked) == 3 and done.measurements[0].metrics["energy_j"] == MetricValue(None, 0, "no")


def test_a_doubtful_energy_is_never_used(workspace, monkeypatch):
    def answer(workload, purpose, n):
        return Run(workload, "rejected", (Reading("energy_j", (9.0,)),), "throttled: twice", True)

    scripted(monkeypatch, answer)
    done = measure(workspace, fake(), some(1), protocol=ENERGY)
    assert done.measurements[0].metrics["energy_j"] == MetricValue(None, 0, "throttled: twice")


def test_a_workload_that_cannot_be_measured_is_not_asked_for_its_energy(workspace):
    workloads = some(3)
    done = measure(workspace, fake(power_w=1.0, rejects=(workloads[1].subject,)), workloads, protocol=ENERGY)
    assert [bool(item.metrics) for item in done.measurements] == [True, False, True]


def test_an_interrupted_campaign_goes_on_where_it_was(workspace, monkeypatch):
    def answer(workload, purpose, n):
        if n == 3:
            raise KeyboardInterrupt
        return ok(workload, float(n))

    asked = scripted(monkeypatch, answer)
    with pytest.raises(KeyboardInterrupt):
        measure(workspace, fake(), some(4), protocol=ENERGY)
    run_id = workspace.store.campaign("last").run_id
    latencies = sum(len(items) for items in workspace.store.invocations(run_id).values())
    sentinels = workspace.store.invocations(run_id, "sentinel")
    done = resume(workspace, run_id)
    assert done.summary.state == "finished" and len(asked) == 5
    assert len({key for _, key in asked}) == 4 and all("energy_j" in item.metrics for item in done.measurements)
    assert sum(len(items) for items in workspace.store.invocations(run_id).values()) == latencies
    assert workspace.store.invocations(run_id, "sentinel") == sentinels, "latencies are settled"
    assert resume(workspace, run_id).measurements == done.measurements and len(asked) == 5


def test_profiles_of_layers_are_kept_beside_the_latency(workspace, monkeypatch):
    scripted(monkeypatch, lambda workload, purpose, n: Run(workload, "ok", facts={"profile": PROFILE}))
    protocol = with_beside(MeasurementProtocol(), EnergyOptions(), per_layer=True)
    done = measure(workspace, fake(latency_s=5e-4), some(2), protocol=protocol)
    first, second = workspace.store.layer_profiles(done.run_id)
    assert (first.workload, second.workload) == tuple(item.workload for item in done.measurements)
    assert first.latency_s == done.measurements[0].latency_s
    assert first.sum_s == pytest.approx(4e-4) and first.overhead == pytest.approx(0.2)
    assert first.covered == pytest.approx(4e-4 / first.latency_s)
    assert [layer.share for layer in first.layers] == pytest.approx([0.75, 0.25])
    assert "+20.0% longer (20 calls)" in first.text() and "2 layers" in first.text()
    rows = jsonl_rows(done.measurements, workspace.store.recorded(done.run_id), [first, second])
    assert rows[0]["layers"]["layers"][0]["layer"] == "a" and rows[0]["recorded"][-1]["purpose"] == "layers"


def test_without_a_latency_the_call_beside_the_profile_is_the_whole():
    found = LayerProfile.of(some(1)[0], PROFILE, None)
    assert found.covered == pytest.approx(0.8) and "an unprofiled call" in found.text()


def test_the_windows_are_those_of_the_config():
    options = EnergyOptions(idle_s=2.0, active_s=3.0, active_calls=4, sensor_updates=5)
    protocol = with_beside(MeasurementProtocol(), options, energy=True)
    found = (protocol.idle_s, protocol.active_s, protocol.active_calls, protocol.sensor_updates)
    assert found == (2.0, 3.0, 4, 5) and protocol.energy_invocations == 1 and protocol.layer_invocations == 0
    assert with_beside(MeasurementProtocol(), options) == MeasurementProtocol()
    usual = EnergyOptions()
    assert usual.idle_s >= 10 and usual.active_s >= 10 and usual.active_calls >= 10 and usual.sensor_updates >= 50
    with pytest.raises(UsageError, match="stands alone"):
        with_beside(MeasurementProtocol(sustained_s=10), options, energy=True)


def test_an_invocation_for_energy_may_take_as_long_as_its_windows():
    protocol = replace(ENERGY, purpose="energy")
    assert protocol.limit_s > ENERGY.limit_s + protocol.idle_s + protocol.active_s == ENERGY.limit_s + 25.0


STATUSES = st.sampled_from(["ok", "rejected", "failed"])


@given(st.lists(st.tuples(STATUSES, st.booleans()), max_size=8), st.integers(0, 3), st.integers(1, 4))
def test_what_is_wanted_beside_latency_always_ends(found, wanted, most):
    invocations = [
        Invocation(i, i + 1, status, None, None if status == "ok" else "x", transient)
        for i, (status, transient) in enumerate(found)
    ]
    if judge_beside(invocations, wanted, most):
        return
    usable = sum(item.status == "ok" for item in invocations)
    assert usable < wanted and len(invocations) - usable < most
    assert not any(item.status == "failed" and not item.transient for item in invocations)
    more = [Invocation(9 + i, 9, "rejected", None, "x", True) for i in range(most)]
    assert judge_beside([*invocations, *more], wanted, most)


def recorded(status, readings, purpose="latency", cause=None, facts=None):
    return Recorded(0, 1, purpose, status, cause, False, facts or {}, readings)


def test_memory_is_the_largest_of_the_invocations_and_other_readings_their_median():
    found = metric_values(
        [
            recorded("ok", {"latency_s": (1.0,), "peak_bytes": (10.0,), "load_s": (1.0,)}),
            recorded("ok", {"latency_s": (1.0,), "peak_bytes": (30.0,), "load_s": (2.0,)}),
            recorded("ok", {"latency_s": (1.0,), "peak_bytes": (20.0,), "load_s": (9.0,)}),
            recorded("rejected", {"latency_s": (1.0,), "peak_bytes": (99.0,)}, cause="contended"),
        ]
    )
    assert found == {"peak_bytes": MetricValue(30.0, 3), "load_s": MetricValue(2.0, 3)}


def test_memory_of_a_device_that_is_always_busy_is_still_known():
    found = metric_values([recorded("rejected", {"peak_bytes": (7.0,)}, cause="contended")])
    assert found == {"peak_bytes": MetricValue(7.0, 1)}


def test_energy_carries_its_scope_and_its_uncertainty():
    facts = {
        "energy": {
            "scope": "module",
            "sensor": "ina3221",
            "not_included": "the carrier board",
            "energy_uncertainty_j": 0.01,
            "net_energy_uncertainty_j": 0.02,
        }
    }
    found = metric_values([recorded("ok", {"energy_j": (0.5,), "net_energy_j": (0.4,)}, "energy", facts=facts)])
    scope = "module (ina3221); not included: the carrier board"
    assert found["energy_j"] == MetricValue(0.5, 1, None, 0.01, scope)
    assert found["net_energy_j"].uncertainty == 0.02


def test_every_workload_has_a_column_for_what_any_of_them_has(workspace, monkeypatch):
    def answer(workload, purpose, n):
        return ok(workload, 0.25) if n == 1 else Run(workload, "failed", cause="energy: n/a: gone")

    scripted(monkeypatch, answer)
    done = measure(workspace, fake(), some(2), protocol=ENERGY)
    rows = measurement_rows(done.measurements)
    assert rows[0].keys() == rows[1].keys() and {row["energy_j"] for row in rows} == {0.25, None}
    assert {"energy_uncertainty_j", "energy_scope", "not_available"} <= rows[0].keys()
    columns, shown = shown_rows(done.measurements)
    assert "energy" in columns and {row[columns.index("energy")] for row in shown} == {"250 mJ", None}
    summary = metric_summary(done.measurements)["energy_j"]
    assert (summary["workloads"], summary["median"], summary["direction"]) == (1, 0.25, "lower")
    assert summary["not_available"] == "energy: n/a: gone"


def test_models_of_one_name_keep_their_own_layers(workspace, monkeypatch):
    workloads = [replace(item, label="a.onnx") for item in some(2)]
    shares = iter([1e-4, 9e-4])

    def answer(workload, purpose, n):
        layer = {"name": workload.key, "operator": "x", "provider": "y", "median_s": next(shares)}
        return Run(workload, "ok", facts={"profile": {**PROFILE, "layers": [layer]}})

    scripted(monkeypatch, answer)
    protocol = with_beside(MeasurementProtocol(), EnergyOptions(), per_layer=True)
    done = measure(workspace, fake(), workloads, protocol=protocol)
    profiles = workspace.store.layer_profiles(done.run_id)
    rows = jsonl_rows(done.measurements, {}, profiles)
    assert [row["layers"]["layers"][0]["layer"] for row in rows] == [item.key for item in workloads]
    assert isinstance(profiles[0].workload, Workload)
