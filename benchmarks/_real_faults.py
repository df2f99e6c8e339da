"""Campaigns on stand-in boards behind real sshds, each with one fault at a random moment.

A campaign runs in a process of its own; this one injects the fault, looks after the board as a person would, resumes
the campaign when it has stopped, and compares what was recorded with undisturbed campaigns of the same run, made
before, between and after: a machine shared with others is slower for seconds at a time, and that is no fault's doing.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._boards import config_of
from benchmarks._fault_tally import Outcome
from benchmarks._injectors import INJECTORS, SUPERVISOR, Trial
from devices._config import DeviceConfig
from farm import Board, Farm
from hilnas.errors import DeviceError
from hilnas.records import MeasurementProtocol, Workload
from profiler._campaign import resume
from profiler._models import model_workload
from profiler._plan import load_space, sample_workloads, workload_architecture
from profiler._workspace import Workspace
from search_spaces._costs import static_costs

PROTOCOL = replace(
    MeasurementProtocol(), min_invocations=3, max_invocations=6, relative_half_width=0.05, reject_half_width=0.3,
    min_warmup_s=0.02, min_measure_s=0.15, max_measure_s=0.3, timeout_s=5.0, sentinel_every=4, max_drift=0.5,
)  # fmt: skip
_LIMIT_S = 180.0
#: A usable number is wrong when it lies this far beyond all that was measured undisturbed.
_MAX_WRONG = 0.25
_SAMPLED, _WORKLOADS = 40, 4
#: Campaigns of a kind at most, for each that must be struck.
_TRIES = 3

#: Workload -> the least and the most seconds of its undisturbed invocations.
Range = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Ended:
    """A campaign that is over, to be judged."""

    kind: str
    place: Path
    run_id: str
    trial: Trial
    struck: bool
    endless: bool
    orphans: int


@dataclass(frozen=True)
class Undisturbed:
    """What campaigns without a fault gave: how many, and each invocation's median over its network's, at most."""

    campaigns: int
    slowest: float
    #: Least ratio between two networks' times: what mixing them up would show as.
    least_apart: float


def campaign(farm: Farm, per_kind: int, kinds: list[str], seed: int = 0) -> tuple[list[Outcome], Undisturbed]:
    """Return what became of `per_kind` campaigns of each kind, on one board that serves them all."""
    board = farm.add("faulty", face="pi5", sudo=False, memory="700m", disk="300m")
    config = config_of(board, "raspberry_pi", ssh={"peer_timeout_s": 2.0, "connect_timeout_s": 3.0})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seen = [_undisturbed(config, folder / "undisturbed-0")]
        ended: list[Ended] = []
        for number, kind in enumerate(kinds, start=1):
            print(f"{kind} ...", file=sys.stderr)
            ended += _until_struck(per_kind, partial(_one, kind, seed, board, config, folder))
            seen.append(_undisturbed(config, folder / f"undisturbed-{number}"))
        times = {key: [value for found in seen for value in found.get(key, ())] for key in seen[0]}
        truth = {key: (min(values), max(values)) for key, values in times.items()}
        return [_judged(item, truth) for item in ended], _summary(len(seen), times)


def _until_struck(n: int, one: Callable[[int], Ended]) -> list[Ended]:
    """Return campaigns until n of them were struck; a fault may find nothing to hit, such as a worker between two."""
    ended: list[Ended] = []
    while sum(item.struck for item in ended) < n and len(ended) < _TRIES * n:
        ended.append(one(len(ended)))
    return ended


def _summary(campaigns: int, times: Mapping[str, list[float]]) -> Undisturbed:
    centers = {key: float(np.median(values)) for key, values in times.items()}
    ordered = sorted(centers.values())
    apart = min(later / earlier for earlier, later in pairwise(ordered))
    return Undisturbed(campaigns, max(max(values) / centers[key] for key, values in times.items()), apart)


def _undisturbed(config: DeviceConfig, folder: Path) -> dict[str, list[float]]:
    """Return the medians of every usable invocation of a campaign without a fault: key -> seconds."""
    run_id = _create(folder, config, [*_small(), _large(folder)], 0)
    with Workspace.open(folder) as workspace:
        resume(workspace, run_id)
        found = workspace.store.invocations(run_id)
    usable = {key: [item.median_s for item in items if item.status == "ok"] for key, items in found.items()}
    return {key: [value for value in values if value is not None] for key, values in usable.items()}


def _small() -> list[Workload]:
    """Return networks whose times are far apart, so that numbers which change places are seen."""
    space = load_space("nasbench201")
    found = sample_workloads(space, _SAMPLED, seed=7)
    macs = [static_costs(space.graph(workload_architecture(item)[1])).macs for item in found]
    order = np.argsort(macs)
    return [found[order[round(place)]] for place in np.linspace(0, _SAMPLED - 1, _WORKLOADS)]


def _large(folder: Path) -> Workload:
    """Return a user's own model of some megabytes, which travels whole."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [32, 1024])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [32, 1024])],
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


def _one(kind: str, seed: int, board: Board, config: DeviceConfig, folder: Path, number: int) -> Ended:
    seed += number
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
    return Ended(kind, place, run_id, trial, struck, endless, _orphans(board))


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
        left = [item for item in board.processes() if "hilnas" in item.command or SUPERVISOR in item.command]
        if not left or time.monotonic() > deadline:
            return len(left)
        time.sleep(0.2)


def _judged(ended: Ended, truth: Range) -> Outcome:
    with Workspace.open(ended.place) as workspace:
        store = workspace.store
        measured = {item.workload.key: item for item in store.judged(ended.run_id)}
        plan = store.plan(ended.run_id)
        rows = store.database.read(
            "SELECT i.workload, i.wall_s, i.status, i.started_at, r.samples FROM invocations i"
            " JOIN readings r ON r.invocation = i.id AND r.metric = 'latency_s' WHERE i.role = 'workload'"
        )
    lost, notes = 0, []
    for workload in plan:
        found = measured.get(workload.key)
        condemned = found is not None and any(text in (found.cause or "") for text in ("memory", "second time"))
        if found is None or (
            found.status != "ok" and not (condemned and ended.kind in ("worker_out_of_memory", "reboot_twice"))
        ):
            lost += 1
            notes.append(
                f"{workload.name[:40]}: {found.status if found else 'undecided'}: {found.cause if found else ''}"
            )
    samples = [bytes(row["samples"]) for row in rows]
    usable = [row for row in rows if row["status"] == "ok"]
    wrong = [text for row in usable if (text := _what_is_wrong(row, truth, ended.trial.forbidden))]
    return Outcome(
        ended.kind, ended.struck, lost=lost, duplicated=len(samples) - len(set(samples)), wrong=len(wrong),
        orphans=ended.orphans, endless=ended.endless, note="; ".join(notes + wrong)[:600],
    )  # fmt: skip


def _what_is_wrong(row: Any, truth: Range, forbidden: tuple[float, float]) -> str:
    """Return what is wrong with a usable invocation: beyond what is true, or made when none could be."""
    samples = np.frombuffer(row["samples"], "<f8")
    least_s, most_s = truth.get(row["workload"], (0.0, np.inf))
    if not least_s * (1 - _MAX_WRONG) <= float(np.median(samples)) <= most_s * (1 + _MAX_WRONG):
        quartiles = ", ".join(f"{value / most_s:.2f}" for value in np.quantile(samples, [0.05, 0.25, 0.5, 0.75]))
        return f"quantiles 5, 25, 50, 75 over the slowest undisturbed: {quartiles}"
    began, ended = forbidden
    at = datetime.fromisoformat(row["started_at"]).timestamp()
    disturbed = began < at - float(row["wall_s"]) and at < ended
    return "made while the board throttled or was somebody else's" if disturbed else ""
