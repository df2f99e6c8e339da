"""Campaigns on simulated boards, each with one fault at a random moment, and what became of them."""

from __future__ import annotations

import random
import tempfile
from collections import deque
from dataclasses import replace
from pathlib import Path

from benchmarks._fault_tally import Outcome
from devices._config import DeviceConfig
from farm.simulated import Clock, ControllerKilled, Fault, SimulatedBoard
from farm.simulated_device import Simulated
from hilnas.errors import DeviceError
from hilnas.records import MeasurementProtocol, Workload
from profiler._campaign import resume
from profiler._workspace import Workspace

#: Kind -> for how many seconds it lasts.
KINDS = {
    "cut": 20.0,
    "half_open": 5.0,
    "cut_in_transfer": 0.0,
    "agent_killed": 0.0,
    "worker_killed": 0.0,
    "out_of_memory": 0.0,
    "hang": 45.0,
    "reboot": 40.0,
    "reboot_twice": 40.0,
    "disk_full": 60.0,
    "host_key": 60.0,
    "login": 60.0,
    "runtime": 60.0,
    "runtime_gone": 60.0,
    "throttled": 3.0,
    "second_user": 60.0,
    "blobs_lost": 0.0,
    "torn": 0.0,
    "hostile": 0.0,
    "duplicate": 0.0,
    "controller_killed": 0.0,
}
#: A candidate that does this is not measured: its failure, with the cause, is the right answer.
_CONDEMNED = {"out_of_memory": "memory", "reboot_twice": "second time"}
_PROTOCOL = replace(
    MeasurementProtocol(), min_invocations=3, max_invocations=4, sentinel_every=5, min_calls=30, timeout_s=20.0
)
_WORKLOADS = 4
_LENGTH_S = 7.0
_MAX_RESUMES = 12


def one(kind: str, seed: int, workspace: Workspace) -> Outcome:
    """Run one small campaign in which a fault of a kind strikes once, at a moment that the seed chooses."""
    rng = random.Random(f"{kind} {seed}")
    board = SimulatedBoard(Clock())
    text = rng.choice(_hostile_lines()) if kind == "hostile" else b""
    at_s = board.clock.now_s + rng.uniform(0.0, _LENGTH_S)
    board.faults = deque([Fault(kind, at_s, KINDS[kind] * rng.uniform(0.2, 1.0), text)])
    config = DeviceConfig(name="simulated", kind="ssh_linux")
    device = Simulated(config, board)
    workloads = [Workload(f"model:{kind}:{seed}:{i}", "model", (1,)) for i in range(_WORKLOADS)]
    store = workspace.store
    run_id = store.create_campaign(config.name, config.model_dump(mode="json"), None, _PROTOCOL, seed, workloads)
    stops = 0
    while stops <= _MAX_RESUMES:
        try:
            resume(workspace, run_id, device=device)
            break
        except (DeviceError, ControllerKilled):
            stops += 1
            board.clock.sleep(10.0)  # somebody looks after it
    return _judged(kind, workspace, run_id, board, stops)


def _judged(kind: str, workspace: Workspace, run_id: str, board: SimulatedBoard, stops: int) -> Outcome:
    store = workspace.store
    measured = {item.workload.key: item for item in store.judged(run_id)}
    lost = wrong = duplicated = 0
    for key, invocations in store.invocations(run_id).items():
        usable = [item for item in invocations if item.status == "ok"]
        # Without noise three usable invocations decide: a fourth was made of a result that was there already.
        duplicated += max(0, len(usable) - _PROTOCOL.min_invocations)
        truth = board.latency_s(key)
        wrong += sum(abs((item.median_s or 0.0) / truth - 1) > 0.01 for item in usable)
    for workload in store.plan(run_id):
        found = measured.get(workload.key)
        condemned = kind in _CONDEMNED and found is not None and _CONDEMNED[kind] in (found.cause or "")
        lost += found is None or (found.status != "ok" and not condemned)
    return Outcome(
        kind, struck=bool(board.struck), lost=lost, duplicated=duplicated, wrong=wrong, orphans=len(board.agents),
        endless=stops > _MAX_RESUMES,
    )  # fmt: skip


def campaign(per_kind: int, seed: int = 0) -> list[Outcome]:
    """Return the outcome of `per_kind` campaigns of every kind of fault."""
    outcomes = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder, Workspace.open(Path(folder)) as workspace:
            outcomes += [one(kind, seed + i, workspace) for i in range(per_kind)]
    return outcomes


def _hostile_lines() -> list[bytes]:
    """Return lines that no agent sends: torn, absurd, deep, huge, not finite, of another kind."""
    return [
        b"{", b"", b"\x00\xff", b"[1, 2]", b"null", b'{"id": "x"}', b"[" * 100_000, b'{"a":' * 50_000,
        b'{"id": 1e400}', b'{"id": NaN}', b'{"id": 99, "ok": true}',
        b'{"id": 3, "ok": true, "samples_ns": [-1]}', b'{"id": 3, "ok": true, "samples_ns": [1e30]}',
        b'{"id": 3, "ok": true, "busy_s": Infinity}', b'\x1b[2J{"id": 3}',
    ]  # fmt: skip
