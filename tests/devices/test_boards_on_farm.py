"""Devices on stand-in boards: power states, sensors' doubts, runtimes, containers and what boards do to campaigns."""

import hashlib
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks._boards import config_of, device_of
from devices import _doctor
from devices._config import PowerOptions
from devices._errors import BoardFull, LoginRefused, PowerRefused, RuntimeMissing, Unreachable
from farm import Farm, why_unavailable
from hilnas.deadline import Deadline
from hilnas.records import Artifact, MeasurementProtocol, Workload
from search_spaces._recipe import to_onnx_and_recipe
from search_spaces.nasbench201 import NasBench201

QUICK = replace(MeasurementProtocol(), min_warmup_s=0.02, min_measure_s=0.1, max_measure_s=0.2, timeout_s=20.0)
PATIENT = {"peer_timeout_s": 2.0, "connect_timeout_s": 3.0, "patience_s": 30.0}
GOVERNOR = "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"


@pytest.fixture(scope="module")
def farm():
    missing = why_unavailable()
    if missing is not None:
        pytest.skip(f"no stand-in boards: {missing}")
    with Farm() as opened:
        yield opened


@pytest.fixture(scope="module")
def pi5(farm):
    return farm.add("dev-pi5", face="pi5", sudo=True)


@pytest.fixture(scope="module")
def plain(farm):
    return farm.add("dev-plain", face="linux")


def artifact_of(folder, seed=0, whole=False):
    space = NasBench201(width=8, depth=1)
    architecture = space.sample_distinct(1, seed)[0]
    data, recipe = to_onnx_and_recipe(space.graph(architecture))
    digest = hashlib.sha256(data).hexdigest()
    (folder / f"{digest}.onnx").write_bytes(data)
    (folder / f"{digest}.recipe").write_bytes(recipe)
    workload = Workload(architecture.text, "architecture", space.input_shape)
    recipe_path = None if whole else str(folder / f"{digest}.recipe")
    return Artifact(workload, "onnxruntime", digest, len(data), str(folder / f"{digest}.onnx"), recipe_path)


def governor(board):
    return board.run(["cat", GOVERNOR]).stdout.strip()


def agents(board):
    return [item for item in board.processes() if "hilnas" in item.command or "runpy" in item.command]


def wait_until(true, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while not true() and time.monotonic() < deadline:
        time.sleep(0.1)
    return true()


def test_a_power_state_holds_for_the_session_and_is_undone(pi5, tmp_path):
    assert governor(pi5) == "ondemand"
    device = device_of(pi5, "raspberry_pi", power={"governor": "performance"})
    with device.session(Deadline.after(60)) as session:
        assert governor(pi5) == "performance"
        assert session.measure(artifact_of(tmp_path), QUICK).status != "failed"
    assert wait_until(lambda: governor(pi5) == "ondemand")


def test_a_power_state_is_undone_after_the_agent_was_killed(pi5, tmp_path):
    device = device_of(pi5, "raspberry_pi", power={"governor": "performance"})
    with device.session(Deadline.after(60)) as session:
        session.measure(artifact_of(tmp_path), QUICK)
        assert pi5.kill("runpy") == 1
    assert governor(pi5) == "performance", "nobody could undo it"
    with device_of(pi5, "raspberry_pi").session(Deadline.after(60)):
        assert governor(pi5) == "ondemand", "the next agent did"


def test_without_sudo_the_line_for_sudoers_is_said(plain, farm):
    board = farm.add("dev-nosudo", face="pi5", sudo=False)
    with (
        pytest.raises(PowerRefused) as caught,
        device_of(board, "raspberry_pi", power={"governor": "performance"}).session(Deadline.after(60)),
    ):
        pass
    assert "NOPASSWD" in caught.value.what
    checks = _doctor.try_fixes(config_of(board, "raspberry_pi"), ["governor"], False, None)
    assert not checks[0].ok and "NOPASSWD" in checks[0].found


def test_the_doctor_tries_a_fix_and_takes_it_back(pi5):
    checks = _doctor.try_fixes(config_of(pi5, "raspberry_pi"), ["governor"], False, None)
    assert checks[0].ok and "governor" in checks[0].remedy
    assert wait_until(lambda: governor(pi5) == "ondemand")


def test_clocks_and_power_mode_of_a_jetson(farm):
    board = farm.add("dev-orin", face="orin_nano", sudo=True, runtime=False)
    config = config_of(board, "jetson", backend="trtexec")
    before = board.run(["jetson_clocks", "--show"]).stdout
    checks = _doctor.try_fixes(config, ["clocks", "power-mode"], False, 1)
    assert [check.ok for check in checks] == [True, True], [check.found for check in checks]
    assert board.run(["jetson_clocks", "--show"]).stdout == before
    with device_of(board, "jetson", backend="trtexec", power={"clocks": True}).session(Deadline.after(60)) as session:
        state = session.state()
    assert state["jetson_clocks"]["locked"] and "power_w" in state["ina3221"]
    assert config.power == PowerOptions()


def test_what_is_measured_while_a_board_throttles_is_not_used(pi5, tmp_path):
    with device_of(pi5, "raspberry_pi").session(Deadline.after(60)) as session:
        pi5.throttle(True)
        doubted = session.measure(artifact_of(tmp_path), QUICK)
        pi5.throttle(False)
        session.measure(artifact_of(tmp_path), QUICK)
        good = session.measure(artifact_of(tmp_path), QUICK)
    assert doubted.status == "rejected" and doubted.cause.startswith("throttled")
    assert not (good.cause or "").startswith("throttled")


def test_a_cut_link_is_an_error_in_time_and_measuring_goes_on_after_it(plain, tmp_path):
    device = device_of(plain, ssh=PATIENT)
    with device.session(Deadline.after(60)) as session:
        session.measure(artifact_of(tmp_path), QUICK)
        plain.cut()
        threading.Timer(4.0, plain.mend).start()
        began = time.monotonic()
        run = session.measure(artifact_of(tmp_path), QUICK)
        assert 3.0 < time.monotonic() - began < 25.0
        events = session.drain_events()
    assert run.status != "failed" and {event.kind for event in events} == {"connection"}
    plain.cut()
    with pytest.raises(Unreachable), device_of(plain, ssh=PATIENT).session(Deadline.after(60)):
        pass
    plain.mend()
    assert wait_until(lambda: not agents(plain))


def test_a_restart_fails_the_invocation_and_the_second_one_condemns_the_model(plain, tmp_path):
    slow = replace(QUICK, min_measure_s=3.0, max_measure_s=3.5)
    wanted = artifact_of(tmp_path)
    with device_of(plain, ssh=PATIENT).session(Deadline.after(60)) as session:
        causes = []
        for _ in range(2):
            threading.Timer(1.5, plain.reboot).start()
            run = session.measure(wanted, slow)
            causes.append((run.status, run.transient))
        other = session.measure(artifact_of(tmp_path, 1), QUICK)
        kinds = [event.kind for event in session.drain_events()]
    assert causes == [("failed", True), ("failed", False)]
    assert other.status != "failed" and kinds.count("restart") == 2


def test_a_model_too_large_for_the_memory_fails_and_the_next_is_measured(farm, tmp_path):
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = numpy_helper.from_array(np.array([1, 400_000_000], np.int64), "shape")
    nodes = [helper.make_node("Expand", ["x", "shape"], ["wide"]), helper.make_node("ReduceMax", ["wide"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in "xy"]
    graph = helper.make_graph(nodes, "greedy", ends[:1], ends[1:], [shape])
    path = tmp_path / "greedy.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    greedy = Artifact(Workload("model:g", "model", (1, 1)), "onnxruntime", digest, path.stat().st_size, str(path))
    board = farm.add("dev-small", face="linux", memory="400m")
    with device_of(board).session(Deadline.after(60)) as session:
        failed, good = session.measure_many([greedy, artifact_of(tmp_path)], QUICK)
    assert failed.status == "failed" and failed.cause.startswith("memory") and not failed.transient
    assert good.status != "failed"


def test_a_full_disk_stops_and_says_so(plain, tmp_path):
    with device_of(plain).session(Deadline.after(60)) as session:
        plain.fill_disk()
        with pytest.raises(BoardFull, match="no room"):
            session.measure(artifact_of(tmp_path, 5), QUICK)
        plain.free_disk()
        assert session.measure(artifact_of(tmp_path, 5), QUICK).status != "failed"


def test_refused_logins_and_broken_runtimes_are_told_apart(plain, tmp_path):
    plain.refuse_login(True)
    with pytest.raises(LoginRefused):
        device_of(plain).probe()
    plain.refuse_login(False)
    plain.break_runtime()
    with pytest.raises(RuntimeMissing, match="cannot be used"):
        device_of(plain).probe()
    plain.hide_runtime(True)
    checks = device_of(plain).checks()
    remedy = next(check.remedy for check in checks if check.name == "runtime" and not check.ok)
    assert "pip download" in remedy and "--python-version" in remedy
    plain.hide_runtime(False)
    device_of(plain).probe()


def test_the_agent_works_inside_a_container(farm, tmp_path):
    board = farm.add("dev-box", face="linux", container=True)
    with pytest.raises(RuntimeMissing):
        device_of(board).probe()
    inside = device_of(board, ssh={"container": "ml"})
    with inside.session(Deadline.after(60)) as session:
        runs = list(session.measure_many([artifact_of(tmp_path), artifact_of(tmp_path, 1, whole=True)], QUICK))
    assert all(run.status != "failed" for run in runs)
    assert wait_until(lambda: not agents(board))


def test_a_wrong_clock_changes_nothing(plain, tmp_path):
    plain.skew_clock(-5 * 86400.0)
    with device_of(plain).session(Deadline.after(60)) as session:
        run = session.measure(artifact_of(tmp_path), QUICK)
    plain.skew_clock(0.0)
    assert run.status != "failed" and all(0 < value < 1 for value in run.values())


def test_a_board_that_prints_rubbish_is_a_failed_run(plain, tmp_path):
    plain.corrupt(True)
    try:
        with device_of(plain).session(Deadline.after(60)) as session:
            runs = [session.measure(artifact_of(tmp_path), QUICK) for _ in range(6)]
    finally:
        plain.corrupt(False)
    failed = [run for run in runs if run.status == "failed"]
    assert failed and all(run.transient and run.cause.startswith("agent:") for run in failed)
    assert Path(tmp_path).exists()
