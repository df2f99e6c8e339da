"""Measuring a source pack: the same architectures on every runtime of this machine, by ordinary campaigns.

A campaign that is there already, finished or not, is continued; so measuring a pack may stop and go on at any time.
One that is finished counts whatever its protocol was: the pack says by which each of its devices was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devices._config import BackendOptions, DeviceConfig
from devices._errors import RuntimeMissing
from hilnas import __version__
from hilnas.errors import HilnasError, UnknownName
from hilnas.records import Measurement, MeasurementProtocol, Workload
from profiler import _campaign
from profiler._campaign import CampaignResult, Progress
from profiler._source_pack import PackRow, SourcePack, write_pack
from profiler._workspace import Workspace


@dataclass(frozen=True)
class Source:
    """One device of a pack; `n` limits its architectures (None: all), for runtimes that take long to load."""

    name: str
    backend: str
    options: Mapping[str, Any] = field(default_factory=dict)
    n: int | None = None
    #: Whether one process runs tens of percent faster than the next, with the same model on the same calm machine.
    scatters: bool = False

    def config(self) -> DeviceConfig:
        """Return the device config."""
        return DeviceConfig(
            name=f"pack_{self.name}",
            kind="local_cpu",
            backend=self.backend,
            options=BackendOptions(**self.options),
        )

    def protocol(self, usual: MeasurementProtocol) -> MeasurementProtocol:
        """Return how the source is measured: where processes scatter, more of them, which may be further apart."""
        if not self.scatters:
            return usual
        return replace(usual, min_invocations=5, max_invocations=9, reject_half_width=0.25, max_drift=0.2)


SOURCES = (
    Source("ort_1t", "onnxruntime"),
    Source("ort_2t", "onnxruntime", {"threads": 2}),
    Source("ort_no_opt", "onnxruntime", {"optimization": "none"}),
    Source("ort_int8", "onnxruntime_int8"),
    Source("openvino_f32", "openvino"),
    Source("openvino_bf16", "openvino", {"precision": "bf16"}),
    Source("ncnn", "ncnn"),
    Source("torch_eager", "torch_eager"),
    Source("torch_compile", "torch_compile", n=20, scatters=True),
    Source("torch_compile_2t", "torch_compile", {"threads": 2}, n=20, scatters=True),
)

#: Short: ranks need no more. The first invocation of a compiled network compiles it.
PROTOCOL = MeasurementProtocol(
    min_invocations=3,
    max_invocations=5,
    relative_half_width=0.02,
    reject_half_width=0.1,
    max_warmup_s=1.0,
    min_measure_s=0.1,
    max_measure_s=0.3,
    timeout_s=300.0,
    pace_wait_s=60.0,
)

_WAIT_S = 3600.0


@dataclass(frozen=True)
class Measured:
    """What a source has given: its campaign, or why there is none."""

    source: Source
    result: CampaignResult | None
    problem: str = ""


def measure_source(
    workspace: Workspace,
    source: Source,
    workloads: Sequence[Workload],
    protocol: MeasurementProtocol,
    seed: int,
    progress: Progress,
) -> Measured:
    """Measure a source, or continue where that was stopped; a runtime that is missing is a problem, not an error.

    Somebody else who measures is waited for; raise DeviceError where the machine is not what it was.
    """
    chosen, protocol = list(workloads[: source.n]), source.protocol(protocol)
    run_id = _begun(workspace, source.config(), chosen, protocol, seed)
    try:
        if run_id is not None:
            return Measured(source, _campaign.resume(workspace, run_id, progress=progress, wait_s=_WAIT_S))
        found = _campaign.measure(
            workspace, source.config(), chosen, protocol=protocol, seed=seed, progress=progress, wait_s=_WAIT_S
        )
    except (RuntimeMissing, UnknownName) as error:
        return Measured(source, None, f"{error.what}. {error.remedy}".strip())
    return Measured(source, found)


def write_measured(
    folder: Path,
    workspace: Workspace,
    measured: Sequence[Measured],
    workloads: Sequence[Workload],
    seed: int,
) -> SourcePack:
    """Write what was measured as a pack; raise HilnasError when nothing was."""
    usable = [(item, _rows(item.result.measurements)) for item in measured if item.result is not None]
    usable = [(item, rows) for item, rows in usable if rows]
    if not usable:
        raise HilnasError("nothing was measured", "; ".join(item.problem for item in measured if item.problem))
    provenance = {
        "hilnas": __version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _facts(workspace, usable[0][0])["host"],
        "space": workloads[0].subject.partition(":")[0],
        "space_options": workloads[0].options,
        "input_shape": list(workloads[0].input_shape),
        "architectures": len(workloads),
        "seed": seed,
        "devices": [_provenance(workspace, item, rows) for item, rows in usable],
        "left_out": {item.source.name: _why_not(item) for item in measured if item not in [pair[0] for pair in usable]},
    }
    return write_pack(folder, provenance, {item.source.name: rows for item, rows in usable})


def _begun(
    workspace: Workspace, config: DeviceConfig, workloads: Sequence[Workload], protocol: MeasurementProtocol, seed: int
) -> str | None:
    """Return the newest campaign that asked for this: finished, or by the same protocol."""
    wanted = {workload.key for workload in workloads}
    for row in reversed(workspace.store.campaigns()):
        same = row.device == config.name and row.seed == seed
        usable = row.protocol == protocol or row.state == "finished"
        if same and usable and {workload.key for workload in workspace.store.plan(row.run_id)} == wanted:
            return row.run_id
    return None


def _rows(measurements: Sequence[Measurement]) -> list[PackRow]:
    found = []
    for item in measurements:
        if item.status == "ok" and item.latency_s is not None:
            half = item.relative_half_width
            half_s = None if half is None or item.confidence == 0 else half * item.latency_s
            found.append(PackRow(item.workload.subject, item.latency_s, half_s, item.invocations))
    return found


def _facts(workspace: Workspace, item: Measured) -> dict[str, Any]:
    assert item.result is not None
    return workspace.store.environment_facts(workspace.store.campaign(item.result.run_id).environment)


def _provenance(workspace: Workspace, item: Measured, rows: Sequence[PackRow]) -> dict[str, Any]:
    assert item.result is not None
    summary, environment = item.result.summary, _facts(workspace, item)
    return {
        "name": item.source.name,
        "backend": item.source.backend,
        "runtime": environment["runtime"],
        "options": environment["options"],
        "protocol": workspace.store.campaign(item.result.run_id).protocol.to_json(),
        "architectures": len(rows),
        "failed": summary.failed,
        "rejected": summary.rejected,
        "noise_floor": summary.noise_floor,
        "median_relative_half_width": summary.median_relative_half_width,
        "elapsed_s": round(summary.elapsed_s, 1),
    }


def _why_not(item: Measured) -> str:
    if item.result is None:
        return item.problem
    return next(iter(item.result.summary.causes.values()), "nothing was usable")
