"""Campaigns on scripted devices: interleaving, verdicts, resuming."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from devices._config import DeviceConfig, FakeOptions
from devices.fake import FakeSession, true_latency_s
from hilnas.errors import DeviceError, UnknownName
from hilnas.records import MeasurementProtocol
from profiler._campaign import _log_file, measure, open_device, result, resume
from profiler._plan import block_entry_s, block_workloads, load_space, sample_workloads
from profiler._workspace import Workspace


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


def test_a_campaign_finds_the_scripted_latencies(workspace):
    config = fake(noise=0.002, between=0.002)
    done = measure(workspace, config, some(12), seed=1)
    assert (done.summary.ok, done.summary.failed, done.summary.rejected, done.summary.pending) == (12, 0, 0, 0)
    for found in done.measurements:
        assert found.latency_s == pytest.approx(true_latency_s(config.fake, found.workload), rel=0.02)
    assert [item.workload for item in done.measurements] == some(12)
    assert done.summary.state == "finished" and 0 < done.summary.noise_floor < 0.01


def test_invocations_are_interleaved_in_random_order(workspace):
    done = measure(workspace, fake(), some(10), seed=1)
    invocations = workspace.store.invocations(done.run_id)
    order = sorted((item.sequence, key) for key, items in invocations.items() for item in items)
    rounds = [[key for _, key in order[i : i + 10]] for i in range(0, 50, 10)]
    assert all(len(set(keys)) == 10 for keys in rounds)
    assert len({tuple(keys) for keys in rounds}) == 5


def test_the_same_seed_gives_the_same_order(workspace):
    orders = []
    for _ in range(2):
        done = measure(workspace, fake(), some(6), seed=3)
        found = workspace.store.invocations(done.run_id)
        orders.append(sorted((item.sequence, key) for key, items in found.items() for item in items))
    assert orders[0] == orders[1]


def test_a_rejected_model_is_recorded_and_the_campaign_goes_on(workspace):
    workloads = some(5)
    done = measure(workspace, fake(rejects=(workloads[2].subject,)), workloads)
    assert (done.summary.ok, done.summary.failed) == (4, 1)
    assert done.measurements[2].status == "failed" and "rejects" in done.measurements[2].cause
    assert done.summary.causes == {workloads[2].subject: done.measurements[2].cause}


def test_crashes_are_measured_again(workspace):
    done = measure(workspace, fake(crash=0.05), some(20))
    assert done.summary.ok >= 17 and done.summary.ok + done.summary.failed == 20
    assert any(item.status == "failed" for items in workspace.store.invocations(done.run_id).values() for item in items)


def test_a_contended_device_is_rejected_after_three_attempts(workspace):
    done = measure(workspace, fake(contended=1.0), some(2))
    assert done.summary.rejected == 2
    attempts = {item.attempt for items in workspace.store.invocations(done.run_id).values() for item in items}
    assert attempts == {1, 2, 3}


def test_an_unsteady_device_is_rejected(workspace):
    done = measure(workspace, fake(between=0.5), some(3))
    assert done.summary.rejected == 3
    assert all("unsteady" in item.cause or "drift" in item.cause for item in done.measurements)


def test_drift_of_the_device_is_seen_by_the_sentinel(workspace):
    protocol = MeasurementProtocol(max_attempts=1, sentinel_every=5)
    done = measure(workspace, fake(drift_per_invocation=0.002), some(20), protocol=protocol)
    assert done.summary.noise_floor > 0.03
    assert done.summary.rejected > 0
    assert any("drift" in cause for cause in done.summary.causes.values())


def test_drift_that_only_the_last_sentinel_shows_leaves_nothing_undecided(workspace):
    few = replace(MeasurementProtocol(), sentinel_every=8, max_drift=0.03)
    done = measure(workspace, fake(drift_per_invocation=0.008), some(1), protocol=few)
    assert done.summary.pending == 0
    assert done.summary.ok + done.summary.rejected == 1


def test_an_interrupted_campaign_continues_and_measures_nothing_twice(workspace, monkeypatch):
    seen = []
    original = FakeSession.measure

    def interrupted(self, artifact, protocol):
        seen.append(artifact.workload.key)
        if len(seen) in (4, 17, 18, 40):
            raise KeyboardInterrupt
        return original(self, artifact, protocol)

    monkeypatch.setattr(FakeSession, "measure", interrupted)
    workloads = some(8)
    with pytest.raises(KeyboardInterrupt):
        measure(workspace, fake(), workloads)
    run_id = workspace.store.campaign("last").run_id
    assert workspace.store.campaign(run_id).state == "interrupted"
    assert result(workspace, run_id).summary.pending == 8
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            resume(workspace, run_id)
    done = resume(workspace, run_id)
    assert (done.summary.ok, done.summary.pending, done.summary.state) == (8, 0, "finished")
    found = workspace.store.invocations(run_id)
    assert all(5 <= len(items) <= 6 for items in found.values())
    n_stored = sum(map(len, found.values())) + sum(map(len, workspace.store.invocations(run_id, "sentinel").values()))
    assert n_stored == len(seen) - 4


def test_resuming_what_has_ended_only_sums_it_up(workspace):
    done = measure(workspace, fake(), some(3))
    again = resume(workspace, done.run_id)
    assert again.measurements == done.measurements and again.summary == done.summary


def test_a_device_that_has_changed_cannot_continue_a_campaign(workspace, monkeypatch):
    original = FakeSession.measure
    monkeypatch.setattr(FakeSession, "measure", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        measure(workspace, fake(), some(3))
    monkeypatch.setattr(FakeSession, "measure", original)
    run_id = workspace.store.campaign("last").run_id
    other = open_device(fake(noise=0.5), workspace)
    with pytest.raises(DeviceError, match="has changed"):
        resume(workspace, run_id, device=other)
    assert resume(workspace, run_id).summary.ok == 3


def _interrupt(self, artifact, protocol):
    raise KeyboardInterrupt


def test_a_log_that_cannot_be_written_hides_nothing(tmp_path):
    handler = _log_file(tmp_path / "logs" / "run.log")
    handler.stream.close()
    handler.stream = open("/dev/full", "w")  # noqa: PTH123, SIM115
    logging.getLogger("hilnas.campaign").warning("x" * 100_000)
    logging.getLogger("hilnas.campaign").removeHandler(handler)
    handler.close()


def test_a_replayed_campaign_gives_the_recorded_numbers(workspace):
    done = measure(workspace, fake(), some(4))
    config = DeviceConfig(name=f"run:{done.run_id}", kind="replay")
    again = measure(workspace, config, some(4))
    assert [item.latency_s for item in again.measurements] == [item.latency_s for item in done.measurements]
    assert again.summary.invocations == 4
    missing = measure(workspace, config, some(1, seed=99))
    assert missing.measurements[0].status == "failed"


def test_blocks_are_ordinary_workloads(workspace):
    blocks = block_workloads(load_space("nasbench201"))
    done = measure(workspace, fake(), blocks)
    assert done.summary.ok == len(blocks) == 19
    found = {item.workload.subject: item for item in workspace.store.measurements("fake", kind="block")}
    chained = next(item for name, item in found.items() if "nor_conv_3x3" in name)
    assert block_entry_s(chained) == pytest.approx(chained.latency_s / 8)
    single = next(item for name, item in found.items() if "stem" in name)
    assert block_entry_s(single) == single.latency_s


def test_an_unknown_table_is_said(workspace):
    with pytest.raises(UnknownName):
        open_device(DeviceConfig(name="table:no/column", kind="replay"), workspace)


def test_the_medians_of_invocations_serve_the_noise_ceiling(workspace):
    measure(workspace, fake(between=0.003), some(6))
    medians = workspace.store.invocation_medians("fake", space="nasbench201")
    assert len(medians) == 6 and all(len(values) >= 5 for values in medians.values())
    assert 0.0005 < np.median([np.std(values) / np.mean(values) for values in medians.values()]) < 0.01
