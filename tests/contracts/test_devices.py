"""The contract of a device, over every kind that is found."""

import hashlib
import json

import pytest

from devices._base import Device
from devices._board import Board
from devices._config import DeviceConfig
from devices.agent.sensors import nvml
from devices.replay import Replay
from hilnas import plugins
from hilnas.deadline import Deadline
from hilnas.records import Artifact, MeasurementProtocol, Workload
from profiler._artifacts import ArtifactStore
from profiler._plan import architecture_workload, load_space
from profiler.builders._base import Builder

CELL = "nasbench201:|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
PROTOCOL = MeasurementProtocol(min_warmup_s=0.01, min_measure_s=0.02, max_measure_s=0.05)


@pytest.fixture(params=plugins.names("devices"))
def device(request, tmp_path, monkeypatch):
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")
    config = DeviceConfig(name="device", kind=request.param)
    if request.param == "replay":
        return Replay(config, {CELL: 0.002})
    kind = plugins.load("devices", request.param, Device)
    if request.param == "local_cuda" and (missing := nvml.problem("cuda:0")) is not None:
        pytest.skip(missing)
    if issubclass(kind, Board):
        config = request.getfixturevalue("sshd").config("device", request.param)
    return kind(config)


@pytest.fixture
def artifact(device, tmp_path):
    space = load_space("nasbench201", '{"depth":1}')
    builder = plugins.load("profiler.builders", device.backend, Builder)(ArtifactStore(tmp_path / "artifacts"))
    return builder.build(architecture_workload(space, space.parse(CELL)))


def test_probing_gives_a_stable_fingerprint_of_plain_json(device):
    first = device.probe()
    assert first.key == device.probe().key
    json.dumps(dict(first.facts), allow_nan=False)


def test_a_session_measures_and_its_environment_is_that_of_the_probe(device, artifact):
    with device.session(Deadline.after(60)) as session:
        run = session.measure(artifact, PROTOCOL)
        json.dumps(dict(session.state()), allow_nan=False)
        assert session.environment.key == device.probe().key
    assert run.status in ("ok", "rejected") and run.workload == artifact.workload
    assert all(value > 0 for value in run.values("latency_s"))


def test_a_session_can_be_opened_again(device, artifact):
    for _ in range(2):
        with device.session(Deadline.after(60)) as session:
            assert session.measure(artifact, PROTOCOL).status != "failed"


def test_the_doctor_never_raises(device):
    checks = device.checks()
    assert checks and all(check.name and isinstance(check.ok, bool) for check in checks)


def test_the_backend_has_a_builder(device):
    assert device.backend in plugins.names("profiler.builders")


def test_a_candidate_that_cannot_be_measured_is_a_value(device, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no model")
    workload = Workload("model:bad", "model", (1,))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with device.session(Deadline.after(60)) as session:
        run = session.measure(Artifact(workload, "any", digest, path.stat().st_size, str(path)), PROTOCOL)
    assert run.status in ("failed", "ok")  # a fake measures whatever has a name
    assert (run.cause is None) == (run.status == "ok")


def test_many_artifacts_give_one_run_each_in_order(device, artifact):
    wanted = [artifact] * 3
    with device.session(Deadline.after(60)) as session:
        runs = list(session.measure_many(iter(wanted), PROTOCOL))
    assert [run.workload for run in runs] == [item.workload for item in wanted]
    assert all(run.status != "failed" for run in runs)
