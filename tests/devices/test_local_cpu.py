"""The real agent on this machine: it measures, it survives what models do, it ends with its controller."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from devices._agent_session import AgentSession
from devices._config import BackendOptions, DeviceConfig, MeasuringOptions
from devices._errors import DeviceBusy, RuntimeMissing
from devices._lease import lease
from devices._link import Link
from devices._package import agent_file, packed_agent
from devices.agent._wire import PipeLines
from devices.local_cpu import LocalCpu
from hilnas.deadline import Deadline
from hilnas.records import Artifact, MeasurementProtocol, Workload
from search_spaces._onnx import to_onnx
from search_spaces.nasbench201 import NasBench201

QUICK = replace(MeasurementProtocol(), min_warmup_s=0.01, min_measure_s=0.02, max_measure_s=0.05, timeout_s=20.0)
CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


@pytest.fixture(autouse=True)
def _own_leases(tmp_path, monkeypatch):
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")


@pytest.fixture
def model(tmp_path):
    space = NasBench201(depth=1)
    return artifact(tmp_path, to_onnx(space.graph(space.parse(CELL))))


def artifact(folder: Path, data: bytes) -> Artifact:
    path = folder / "model.onnx"
    path.write_bytes(data)
    return Artifact(Workload("model:x", "model", (1, 3, 32, 32)), "onnxruntime", "x", len(data), str(path))


def device(**options):
    return LocalCpu(DeviceConfig(name="cpu", kind="local_cpu", options=BackendOptions(**options)))


def test_a_model_is_measured_in_fresh_workers(model):
    with device().session(Deadline.after(60)) as session:
        runs = [session.measure(model, QUICK) for _ in range(3)]
        state = session.state()
    for run in runs:
        assert run.status in ("ok", "rejected")  # a busy machine may reject, but it has measured
        assert len(run.values()) >= 5 and all(0 < value < 1 for value in run.values())
        assert run.values("load_s")[0] > 0 and run.values("peak_bytes")[0] > 1e6
        assert 0 < run.busy_s < run.wall_s
        assert {"cpu_load", "cpu_clock"} <= set(run.state["before"])
        assert run.facts["providers"] == ["CPUExecutionProvider"]
    assert "cpu_load" in state


@pytest.mark.parametrize("virtual", [True, False])
def test_the_pace_is_watched_on_a_virtual_machine_unless_the_config_says_otherwise(virtual, monkeypatch):
    monkeypatch.setattr("devices.local_cpu.is_virtual", lambda: virtual)
    silent = DeviceConfig(name="cpu", kind="local_cpu")
    unwatched = DeviceConfig(name="cpu", kind="local_cpu", measuring=MeasuringOptions(pace_wait_s=0))
    assert (LocalCpu(silent).protocol.pace_wait_s > 0) == virtual
    assert LocalCpu(unwatched).protocol.pace_wait_s == 0.0


def test_the_pace_is_watched_where_the_config_says_so(model):
    config = DeviceConfig(name="cpu", kind="local_cpu", measuring=MeasuringOptions(pace_wait_s=2.0))
    assert LocalCpu(config).protocol.pace_wait_s == 2.0
    with LocalCpu(config).session(Deadline.after(60)) as session:
        runs = [session.measure(model, replace(QUICK, pace_wait_s=2.0)) for _ in range(2)]
        unwatched = session.measure(model, QUICK)
    for run in runs:
        assert run.status in ("ok", "rejected") and run.values()
        assert (run.stop_reason == "slowed") == (run.cause or "").startswith("slowed")
    assert 0 < runs[1].facts["pace_ns"] <= runs[0].facts["pace_ns"], "what the first has seen counts for the second"
    assert "pace_ns" not in unwatched.facts


def test_the_fingerprint_is_stable_and_knows_the_runtime():
    import onnxruntime

    first, second = device().probe(), device().probe()
    assert first == second and first.key == second.key
    assert first.facts["runtime"] == {"name": "onnxruntime", "version": onnxruntime.__version__}
    assert device(threads=2).probe().key != first.key


def test_a_rejected_model_is_a_failed_run_and_the_next_one_is_measured(tmp_path, model):
    (tmp_path / "bad").mkdir()
    bad = artifact(tmp_path / "bad", b"this is no model")
    with device().session(Deadline.after(60)) as session:
        failed = session.measure(bad, QUICK)
        good = session.measure(model, QUICK)
    assert failed.status == "failed" and failed.cause.startswith("load:") and not failed.transient
    assert good.status != "failed"


def test_a_worker_that_takes_too_long_is_killed(model):
    with device().session(Deadline.after(60)) as session:
        run = session.measure(model, replace(QUICK, timeout_s=0.01))
        after = session.measure(model, QUICK)
    assert run.status == "failed" and run.transient and "timeout" in run.cause
    assert after.status != "failed"


def test_a_killed_agent_is_a_transient_failure_and_a_new_one_is_started(model):
    others = set(_children(os.getpid()))  # an sshd of other tests
    with device().session(Deadline.after(60)) as session:
        assert session.measure(model, QUICK).status != "failed"
        for process in set(_children(os.getpid())) - others:
            os.kill(process, signal.SIGKILL)
        lost = session.measure(model, QUICK)
        again = session.measure(model, QUICK)
    assert lost.status == "failed" and lost.transient and "agent" in lost.cause
    assert again.status != "failed"


def test_nothing_is_left_when_the_session_ends(model):
    others = set(_descendants(os.getpid()))
    with device().session(Deadline.after(60)) as session:
        session.measure(model, QUICK)
        family = set(_descendants(os.getpid())) - others
        assert len(family) >= 2  # supervisor and template
    _wait_until_gone(family)


def test_the_agent_ends_with_a_controller_that_is_killed(model):
    script = (
        "import sys, time\n"
        "from devices._local import Processes\n"
        "from hilnas.deadline import Deadline\n"
        "lines = Processes().start(Deadline.after(20))\n"
        "lines.receive(20)\n"
        "protocol = {'min_warmup_s': 5, 'max_warmup_s': 20, 'timeout_s': 60}\n"
        "lines.send({'op': 'measure', 'id': 1, 'backend': 'onnxruntime', 'options': {}, 'protocol': protocol,\n"
        "            'path': sys.argv[1], 'timeout_s': 60})\n"
        "print('started', flush=True)\n"
        "time.sleep(60)\n"
    )
    controller = subprocess.Popen([sys.executable, "-c", script, model.path], stdout=subprocess.PIPE)
    assert controller.stdout.readline() == b"started\n"
    deadline = time.monotonic() + 10
    while len(family := _descendants(controller.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(family) == 3  # supervisor, template, worker
    controller.kill()
    controller.wait()
    controller.stdout.close()
    _wait_until_gone(family)


def test_two_sessions_on_one_machine_are_refused(model):
    with device().session(Deadline.after(60)):
        with pytest.raises(DeviceBusy) as caught, device().session(Deadline.after(60)):
            pass
        assert str(os.getpid()) in caught.value.cause


def test_a_lease_is_free_when_its_owner_is_killed(tmp_path):
    script = (
        "import sys, time, pathlib\nimport devices._lease as module\n"
        "module.lease_folder = lambda: pathlib.Path(sys.argv[1])\n"
        "with module.lease('cpu'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "leases")], stdout=subprocess.PIPE)
    assert owner.stdout.readline() == b"held\n"
    with pytest.raises(DeviceBusy), lease("cpu"):
        pass
    owner.kill()
    owner.wait()
    owner.stdout.close()
    with lease("cpu"):
        pass


def test_a_missing_runtime_is_named(monkeypatch):
    config = DeviceConfig(name="cpu", kind="local_cpu", backend="no_such_runtime")
    with pytest.raises(RuntimeMissing) as caught:
        LocalCpu(config).probe()
    assert "no_such_runtime" in caught.value.what
    assert [check.ok for check in LocalCpu(config).checks()] == [False]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"op":"hello","protocol":99}\n',
        b"Welcome to the board!\n",
        b'{"op":"hello","protocol":2}\n{"id":7,"ok":true}\n',
        b'{"op":"hello","protocol":2}\n{"id":1,"ok":true,"samples_ns":[-5]}\n',
        b'{"op":"hello","protocol":2}\n{"id":1,"ok":true,"busy_s":1e999}\n',
        b'{"op":"hello","protocol":2}\n',
    ],
)
def test_an_agent_that_talks_nonsense_is_a_failed_run(answer, model):
    class Odd(Link):
        def start(self, deadline):
            there, back = os.pipe(), os.pipe()
            os.write(back[1], answer)
            os.close(back[1])
            return PipeLines(back[0], there[1])

        def close(self):
            pass

    session = AgentSession(DeviceConfig(name="odd", kind="local_cpu"), "onnxruntime", Odd())
    run = session.measure(model, QUICK)
    assert run.status == "failed" and run.transient and run.cause.startswith("agent:")


def test_the_packed_agent_is_deterministic_and_content_addressed():
    digest, data = packed_agent()
    packed_agent.cache_clear()
    assert packed_agent() == (digest, data)
    assert agent_file().name == f"{digest}.pyz" and agent_file().read_bytes() == data


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    return found + [item for child in found for item in _descendants(child)]


def _wait_until_gone(pids: Iterable[int]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        alive = [pid for pid in pids if _alive(pid)]
        if not alive:
            return
        time.sleep(0.05)
    raise AssertionError(f"still running: {alive}")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
