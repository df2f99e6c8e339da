"""Campaigns on stand-in boards behind real sshds, each with one fault at a random moment.

A campaign runs in a process of its own; this one injects the fault, looks after the board as a person would, resumes
the campaign when it has stopped, and compares what was recorded with what was measured undisturbed.
"""

from __future__ import annotations

import base64
import contextlib
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import paramiko

from benchmarks._boards import config_of, networks
from benchmarks._fault_tally import Outcome
from devices._config import DeviceConfig
from devices._errors import DeviceBusy
from devices._host_keys import AcceptFingerprint, add_key, fingerprint
from devices._ssh import connect, resolve
from devices.ssh_linux import SshLinux
from farm import Board, Farm
from hilnas.deadline import Deadline
from hilnas.errors import DeviceError
from hilnas.records import MeasurementProtocol, Workload
from profiler._campaign import resume
from profiler._models import model_workload
from profiler._workspace import Workspace

PROTOCOL = replace(
    MeasurementProtocol(), min_invocations=3, max_invocations=6, relative_half_width=0.05, reject_half_width=0.3,
    min_warmup_s=0.02, min_measure_s=0.15, max_measure_s=0.3, timeout_s=5.0, sentinel_every=4, max_drift=0.5,
)  # fmt: skip
_WORKLOADS = 4
_LIMIT_S = 180.0
_MAX_WRONG = 0.25
_SUPERVISOR, _TEMPLATE = "runpy", "--template"


@dataclass
class Trial:
    """One campaign under way, with what an injector needs."""

    board: Board
    config: DeviceConfig
    rng: random.Random
    #: When the board throttled or was somebody else's: numbers from within must not count.
    forbidden: tuple[float, float] = (0.0, 0.0)


#: Returns False when there was nothing that the fault could hit.
Injector = Callable[[Trial], bool]


def _kill(trial: Trial, pattern: str, signal: int = 9) -> bool:
    return trial.board.kill(pattern, signal) > 0


def _log_out(trial: Trial) -> bool:
    """Kill the server's end of the connection."""
    return trial.board.run(["pkill", "-KILL", "-u", trial.board.user, "sshd"]).returncode == 0


def cut(trial: Trial) -> bool:
    """Cut the link for some seconds."""
    trial.board.cut()
    time.sleep(trial.rng.uniform(1.0, 6.0))
    trial.board.mend()
    return True


def login_killed(trial: Trial) -> bool:
    """Kill the server's end of the connection."""
    return _log_out(trial)


def agent_killed(trial: Trial) -> bool:
    """Kill the supervisor."""
    return _kill(trial, _SUPERVISOR)


def worker_killed(trial: Trial) -> bool:
    """Kill template and worker."""
    return _kill(trial, _TEMPLATE)


def worker_hangs(trial: Trial) -> bool:
    """Stop template and worker without ending them."""
    return _kill(trial, _TEMPLATE, 19)


def board_hangs(trial: Trial) -> bool:
    """Freeze the whole board for some seconds."""
    trial.board.freeze()
    time.sleep(trial.rng.uniform(1.0, 5.0))
    trial.board.thaw()
    return True


def reboot(trial: Trial) -> bool:
    """Cut the power and switch it on again."""
    trial.board.reboot()
    return True


def reboot_twice(trial: Trial) -> bool:
    """Cut the power again soon after."""
    trial.board.reboot()
    time.sleep(trial.rng.uniform(0.5, 3.0))
    trial.board.reboot()
    return True


def disk_full(trial: Trial) -> bool:
    """Fill the disk for some seconds; the agent is killed, so that it must be written to again."""
    trial.board.fill_disk()
    trial.board.kill(_SUPERVISOR)
    time.sleep(trial.rng.uniform(1.0, 3.0))
    trial.board.free_disk()
    return True


def host_key_changed(trial: Trial) -> bool:
    """Give the board another host key, as after an installation; a person accepts it a little later."""
    trial.board.change_host_key()
    _log_out(trial)
    time.sleep(trial.rng.uniform(2.0, 4.0))
    _accept_new_key(trial)
    return True


def login_refused(trial: Trial) -> bool:
    """Let nobody in for some seconds."""
    trial.board.refuse_login(True)
    _log_out(trial)
    time.sleep(trial.rng.uniform(2.0, 4.0))
    trial.board.refuse_login(False)
    return True


def runtime_of_another_architecture(trial: Trial) -> bool:
    """Replace the runtime by one that cannot be loaded, for some seconds."""
    trial.board.break_runtime()
    trial.board.kill(_TEMPLATE)
    time.sleep(trial.rng.uniform(1.0, 3.0))
    trial.board.hide_runtime(False)
    return True


def throttled(trial: Trial) -> bool:
    """Report throttling for a second or two."""
    trial.board.throttle(True)
    began = time.time()
    time.sleep(trial.rng.uniform(0.8, 2.0))
    trial.forbidden = (began, time.time())
    trial.board.throttle(False)
    return True


def clock_jumps(trial: Trial) -> bool:
    """Let the board's clock be wrong by days; a fresh agent sees it."""
    trial.board.skew_clock(trial.rng.choice((-3, 3)) * 86400.0)
    return _kill(trial, _SUPERVISOR)


def second_user(trial: Trial) -> bool:
    """Let somebody else ask for the board; they must be told, and not disturb, or have it for themselves.

    They get it where the campaign has not begun yet, which is then the one that has to wait.
    """
    other = SshLinux(trial.config.model_copy(update={"name": "other"}))
    with contextlib.suppress(DeviceBusy), other.session(Deadline.after(20.0)):
        began = time.time()
        time.sleep(1.0)
        trial.forbidden = (began, time.time())
    return True


def torn_output(trial: Trial) -> bool:
    """Let the board print rubbish between and instead of answers for some seconds."""
    trial.board.corrupt(True)
    trial.board.kill(_SUPERVISOR)
    time.sleep(trial.rng.uniform(1.0, 3.0))
    trial.board.corrupt(False)
    return True


def nothing(trial: Trial) -> bool:
    """Do nothing: the fault is the controller's, or lies in a model."""
    return True


INJECTORS: dict[str, Injector] = {
    "cut_in_measurement": cut,
    "cut_in_transfer": cut,
    "login_killed": login_killed,
    "agent_killed": agent_killed,
    "worker_killed": worker_killed,
    "worker_out_of_memory": nothing,
    "worker_hangs": worker_hangs,
    "board_hangs": board_hangs,
    "reboot": reboot,
    "reboot_twice": reboot_twice,
    "disk_full": disk_full,
    "host_key_changed": host_key_changed,
    "login_refused": login_refused,
    "runtime_of_another_architecture": runtime_of_another_architecture,
    "throttled": throttled,
    "clock_jumps": clock_jumps,
    "second_user": second_user,
    "torn_output": torn_output,
    "controller_killed": nothing,
}


def campaign(farm: Farm, per_kind: int, kinds: list[str], seed: int = 0) -> Iterator[Outcome]:
    """Give the outcome of every campaign as it ends: `per_kind` of each kind, on one board that serves them all."""
    board = farm.add("faulty", face="pi5", sudo=False, memory="700m", disk="300m")
    config = config_of(board, "raspberry_pi", ssh={"peer_timeout_s": 2.0, "connect_timeout_s": 3.0})
    with tempfile.TemporaryDirectory() as folder:
        truth = _truth(config, Path(folder))
        for kind in kinds:
            for i in range(per_kind):
                yield _one(kind, seed + i, board, config, Path(folder), truth)


def _truth(config: DeviceConfig, folder: Path) -> dict[str, float]:
    """Return what every workload takes undisturbed: key -> seconds."""
    workspace_folder = folder / "truth"
    workloads = [*_small(), _large(workspace_folder)]
    run_id = _create(workspace_folder, config, workloads, 0)
    with Workspace.open(workspace_folder) as workspace:
        done = resume(workspace, run_id)
    return {item.workload.key: item.latency_s for item in done.measurements if item.latency_s is not None}


def _small() -> list[Workload]:
    return networks(_WORKLOADS, seed=7)


def _large(folder: Path) -> Workload:
    """Return a user's own model of some megabytes, which travels whole."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 1024])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 1024])],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    return _stored(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder, onnx)


def _greedy(folder: Path) -> Workload:
    """Return a model whose run needs more memory than the board has."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = numpy_helper.from_array(np.array([1, 600 * 2**20 // 4 * 2], np.int64), "shape")
    graph = helper.make_graph(
        [helper.make_node("Expand", ["x", "shape"], ["wide"]), helper.make_node("ReduceMax", ["wide"], ["y"])],
        "greedy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [shape],
    )  # fmt: skip
    return _stored(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder, onnx)


def _stored(model: Any, folder: Path, onnx: Any) -> Workload:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model.graph.name}.onnx"
    onnx.save(model, str(path))
    with Workspace.open(folder) as workspace:
        return model_workload(path, workspace.artifacts)


def _create(folder: Path, config: DeviceConfig, workloads: list[Workload], seed: int) -> str:
    with Workspace.open(folder) as workspace:
        stored = config.model_dump(mode="json")
        return workspace.store.create_campaign(config.name, stored, None, PROTOCOL, seed, workloads)


def _one(kind: str, seed: int, board: Board, config: DeviceConfig, folder: Path, truth: dict[str, float]) -> Outcome:
    rng = random.Random(f"{kind} {seed}")
    place = folder / f"{kind}-{seed}"
    workloads = _small()
    if kind == "worker_out_of_memory":
        workloads.insert(rng.randrange(len(workloads)), _greedy(place))
    if kind == "cut_in_transfer":
        board.run(["sh", "-c", "rm -rf /home/board/.cache/hilnas/blobs"])
        board.shape(rate_bit_s=20e6)
        workloads.insert(0, _large(place))
    run_id = _create(place, config, workloads, seed)
    trial = Trial(board, config, rng)
    began = time.monotonic()
    process = _start(place, run_id)
    time.sleep(rng.uniform(0.3, 1.6) if kind == "cut_in_transfer" else rng.uniform(0.2, 4.0))
    struck = process.is_alive()
    if kind == "controller_killed":
        process.kill()
    try:
        struck = INJECTORS[kind](trial) and struck
        while time.monotonic() - began < _LIMIT_S:
            process.join(_LIMIT_S - (time.monotonic() - began))
            if process.exitcode == 0:
                break
            process = _start(place, run_id)
    finally:
        endless = process.exitcode != 0
        process.kill()
        process.join()
    _mend(kind, trial)
    orphans = _orphans(board)
    return _judged(kind, place, run_id, trial, truth, struck, endless, orphans)


def _mend(kind: str, trial: Trial) -> None:
    if kind == "cut_in_transfer":
        trial.board.shape()
    if kind == "clock_jumps":
        trial.board.skew_clock(0.0)


def _start(folder: Path, run_id: str) -> multiprocessing.context.SpawnProcess:
    process = multiprocessing.get_context("spawn").Process(target=_resume, args=(folder, run_id))
    process.start()
    return process


def _resume(folder: Path, run_id: str) -> None:
    """Continue a campaign; what stops it is shown by the exit status, and a person would look after it."""
    try:
        with Workspace.open(folder) as workspace:
            resume(workspace, run_id)
    except DeviceError:
        time.sleep(0.5)
        raise SystemExit(4) from None


def _orphans(board: Board) -> int:
    """Return how many processes of agents are left after some grace."""
    deadline = time.monotonic() + 15.0
    while True:
        left = [item for item in board.processes() if "hilnas" in item.command or _SUPERVISOR in item.command]
        if not left or time.monotonic() > deadline:
            return len(left)
        time.sleep(0.2)


def _accept_new_key(trial: Trial) -> None:
    """Do what the refusal says: look at the board's own key and accept its fingerprint."""
    address = resolve(trial.config.ssh)
    kind, text = (trial.board.state.control / "host_key.pub").read_text().split()[:2]
    wanted = fingerprint(paramiko.PKey.from_type_string(kind, base64.b64decode(text)))
    policy = AcceptFingerprint(trial.config.name, wanted)
    connect(trial.config.name, replace(address, known_hosts=()), 5.0, policy).close()
    assert policy.accepted is not None
    add_key(Path(trial.board.known_hosts), *policy.accepted)


def _judged(
    kind: str,
    place: Path,
    run_id: str,
    trial: Trial,
    truth: dict[str, float],
    struck: bool,
    endless: bool,
    orphans: int,
) -> Outcome:
    with Workspace.open(place) as workspace:
        store = workspace.store
        measured = {item.workload.key: item for item in store.judged(run_id)}
        plan = store.plan(run_id)
        rows = store.database.read(
            "SELECT i.workload, i.wall_s, i.status, i.started_at, r.samples FROM invocations i"
            " JOIN readings r ON r.invocation = i.id AND r.metric = 'latency_s' WHERE i.role = 'workload'"
        )
    lost, notes = 0, []
    for workload in plan:
        found = measured.get(workload.key)
        condemned = found is not None and any(text in (found.cause or "") for text in ("memory", "second time"))
        if found is None or (
            found.status != "ok" and not (condemned and kind in ("worker_out_of_memory", "reboot_twice"))
        ):
            lost += 1
            notes.append(
                f"{workload.name[:40]}: {found.status if found else 'undecided'}: {found.cause if found else ''}"
            )
    samples = [bytes(row["samples"]) for row in rows]
    usable = [row for row in rows if row["status"] == "ok"]
    wrong = [text for row in usable if (text := _what_is_wrong(row, truth, trial.forbidden))]
    return Outcome(
        kind, struck, lost=lost, duplicated=len(samples) - len(set(samples)), wrong=len(wrong), orphans=orphans,
        endless=endless, note="; ".join(notes + wrong)[:600],
    )  # fmt: skip


def _what_is_wrong(row: Any, truth: dict[str, float], forbidden: tuple[float, float]) -> str:
    """Return what is wrong with a usable invocation: far from the truth, or made when none could be."""
    samples = np.frombuffer(row["samples"], "<f8")
    expected_s = truth.get(row["workload"])
    if expected_s is not None and abs(float(np.median(samples)) / expected_s - 1) > _MAX_WRONG:
        quartiles = ", ".join(f"{value / expected_s:.2f}" for value in np.quantile(samples, [0.05, 0.25, 0.5, 0.75]))
        return f"quantiles 5, 25, 50, 75 over the truth: {quartiles}"
    began, ended = forbidden
    at = datetime.fromisoformat(row["started_at"]).timestamp()
    return (
        "made while the board throttled or was somebody else's"
        if began < at - float(row["wall_s"]) and at < ended
        else ""
    )
