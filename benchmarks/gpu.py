"""An NVIDIA GPU: latency of 20 networks, wall against event time, repeatability, memory, energy against power x time.

`python -m benchmarks.gpu --out FILE.json [--device cuda:0] [--invocations 1] [--quick] [--json]`. It measures by the
agent itself and needs torch, numpy and nvidia-ml-py alone, so that it runs on a machine where hilnas is not installed:
copy the tree there, start it in the tree's root. `--device cpu` rehearses everything but the GPU's own figures. FILE
is written after every step, so that what was measured is kept when it is stopped.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._gpu_energy import Load, measure_energy
from devices.agent import _children, _host
from devices.agent.sensors import nvml
from hilnas import __version__
from hilnas.records import MeasurementProtocol

SEED = 20
NETWORKS, QUICK_NETWORKS = 20, 4
#: Half of the networks run one image, where launching kernels decides, half a batch, where the kernels do.
BATCHES = (1, 256)
WINDOW_S, QUICK_WINDOW_S = 12.0, 4.0
REPEATABLE, ENERGY_AGREES = 0.01, 0.05
#: As for the device kind local_cuda, whose module needs more than is installed here.
PROTOCOL = replace(
    MeasurementProtocol(), min_warmup_s=1.0, max_warmup_s=8.0, min_measure_s=0.4, max_measure_s=1.5, timeout_s=180.0
)
REHEARSAL = replace(PROTOCOL, min_warmup_s=0.05, max_warmup_s=0.2, min_measure_s=0.05, max_measure_s=0.1)


@dataclass(frozen=True)
class Network:
    """One network at one batch size, exported."""

    name: str
    batch: int
    path: Path


class Worker:
    """The agent's template: every measurement runs in a process of its own that it starts."""

    def __init__(self, home: str, options: Mapping[str, Any], protocol: MeasurementProtocol) -> None:
        self._options = {"threads": 1, **options}
        self._protocol = protocol
        self._child = _children.template(home, "torch_eager", self._options)
        ready = self._child.lines.receive(180.0)
        if not ready or not ready.get("ready"):
            self._child.close()
            raise SystemExit(f"torch cannot be used: {(ready or {}).get('cause', 'no answer')}")
        self.runtime = ready["runtime"]

    def measure(self, network: Network) -> dict[str, Any]:
        """Return what one invocation has given; raise RuntimeError where it failed."""
        timeout_s = self._protocol.timeout_s
        task = {"options": self._options, "protocol": self._protocol.to_json(), "timeout_s": timeout_s}
        self._child.lines.send({**task, "path": str(network.path)})
        found = self._child.lines.receive(timeout_s + 30.0)
        if not found or not found.get("ok"):
            raise RuntimeError(f"{network.name}: {found}")
        return dict(found)

    def close(self) -> None:
        """End it."""
        self._child.close()


def export_networks(n: int, folder: Path) -> list[Network]:
    """Return n random NAS-Bench-201 networks, exported; the first half for the first batch size."""
    import torch

    from search_spaces.nasbench201 import NasBench201

    space = NasBench201()
    found = []
    for i, architecture in enumerate(space.sample_distinct(n, SEED)):
        batch = BATCHES[i * len(BATCHES) // n]
        path = folder / f"{i}.pt2"
        example = torch.zeros(batch, *space.input_shape[1:])
        with torch.no_grad():
            program = torch.export.export(space.module(architecture).eval(), (example,))
        torch.export.save(program, path)
        found.append(Network(architecture.text, batch, path))
    return found


def measure_passes(
    networks: Sequence[Network], worker: Worker, invocations: int, device: str, keep: Callable[[list[Any]], None]
) -> list[dict[str, Any]]:
    """Return one row a network from two passes in different random orders; `keep` gets the rows after each."""
    rows: dict[int, dict[str, Any]] = {}
    for turn in range(2):
        order = list(range(len(networks)))
        random.Random(SEED + turn).shuffle(order)
        for i in order:
            before = nvml.read_or_nothing(device)
            taken = [worker.measure(networks[i]) for _ in range(invocations)]
            doubt = nvml.doubt(before, nvml.read_or_nothing(device))
            row = rows.setdefault(i, {"network": networks[i].name, "batch": networks[i].batch, "passes": []})
            row["passes"].append({**_pass(taken), "doubt": doubt})
            keep([_with_ratios(rows[j]) for j in sorted(rows)])
    return [_with_ratios(rows[i]) for i in sorted(rows)]


def _pass(taken: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return medians over the invocations of one pass."""
    readings: dict[str, list[float]] = {}
    for item in taken:
        for name, values in (item.get("readings") or {}).items():
            readings.setdefault(name, []).append(median(values))
    return {
        "latency_s": median(median(item["samples_ns"]) / 1e9 for item in taken),
        "warmup_converged": all(item["warmup_converged"] for item in taken),
        "stop": [item["stop"] for item in taken],
        **{name: median(values) for name, values in readings.items()},
        "reasons": sorted({reason for item in taken for reason in item["model"].get("reasons") or []}),
    }


def _with_ratios(row: Mapping[str, Any]) -> dict[str, Any]:
    first, last = row["passes"][0], row["passes"][-1]
    event_s = first.get("event_latency_s")
    return {
        **row,
        "repeatability": abs(last["latency_s"] / first["latency_s"] - 1) if len(row["passes"]) > 1 else None,
        "event_over_wall": event_s / first["latency_s"] if event_s else None,
    }


def measure_copies(networks: Sequence[Network], worker: Worker, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return latency with copies to and from the GPU beside that without."""
    found = []
    for network in networks:
        without = next(row["passes"][0]["latency_s"] for row in rows if row["network"] == network.name)
        with_s = _pass([worker.measure(network)])["latency_s"]
        found.append({"network": network.name, "batch": network.batch, "latency_s": without, "with_copies_s": with_s})
    return found


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures that have a target, and whether it is met (None: not measured)."""
    rows = found.get("networks", [])
    repeated = [row["repeatability"] for row in rows if row["repeatability"] is not None]
    differences = [abs(item["relative_difference"]) for item in found.get("energy", []) if item["relative_difference"]]
    ratios = [row["event_over_wall"] for row in rows if row["event_over_wall"] is not None]
    return {
        "networks": len(rows),
        "doubted": sum(bool(item["doubt"]) for row in rows for item in row["passes"]),
        "repeatability_median": median(repeated) if repeated else None,
        "repeatability_worst": max(repeated, default=None),
        "repeatable": max(repeated) <= REPEATABLE if repeated else None,
        "event_over_wall": [min(ratios), median(ratios), max(ratios)] if ratios else None,
        "energy_worst_difference": max(differences, default=None),
        "energy_agrees": max(differences) <= ENERGY_AGREES if differences else None,
    }


def _machine(device: str, runtime: Mapping[str, Any]) -> dict[str, Any]:
    import numpy

    gpu = nvml.read_or_nothing(device)
    kept = ("name", "driver", "max_sm_clock_hz", "power_limit_w", "total_bytes", "mig", "persistence")
    versions = {"hilnas": __version__, "python": platform.python_version(), "numpy": numpy.__version__}
    return {
        "host": _host.host_facts(),
        "gpu": {key: gpu.get(key) for key in kept} if gpu else nvml.problem(device),
        "versions": {**versions, "torch": runtime},
    }


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Measure everything and return it, writing the file as it grows."""
    on_gpu = given.device != "cpu"
    device = given.device if on_gpu else ""
    n = QUICK_NETWORKS if given.quick else given.networks
    protocol = PROTOCOL if on_gpu else REHEARSAL
    found: dict[str, Any] = {"schema_version": 1, "seed": SEED, "quick": given.quick, "protocol": protocol.to_json()}
    found["written"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def keep(**more: Any) -> None:
        _write(given.out, {**found, **more})

    with tempfile.TemporaryDirectory() as folder:
        networks = export_networks(n, Path(folder))
        if on_gpu:
            window_s = QUICK_WINDOW_S if given.quick else WINDOW_S
            loads = (None, *(Load(str(item.path), item.batch) for item in (networks[0], networks[-1])))
            found["energy"] = [measure_energy(load, device, window_s) for load in loads]
            keep()
        with closing(Worker(folder, {"device": device, "copies": False}, protocol)) as worker:
            found["machine"] = _machine(device, worker.runtime)
            found["networks"] = measure_passes(
                networks, worker, given.invocations, device, lambda rows: keep(networks=rows)
            )
        if on_gpu:
            with closing(Worker(folder, {"device": device, "copies": True}, protocol)) as worker:
                found["copies"] = measure_copies([networks[0], networks[-1]], worker, found["networks"])
    found["summary"] = summary(found)
    keep()
    return found


def _write(path: Path, values: Mapping[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)


def main() -> int:
    """Measure, write and print; return 0 when every target that was measured is met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--device", default="cuda:0", help="cuda:N as in nvidia-smi, a UUID, or cpu: a rehearsal")
    parser.add_argument("--networks", type=int, default=NETWORKS, help="how many; some 20 s each with both passes")
    parser.add_argument("--invocations", type=int, default=1, help="fresh processes a network and pass")
    parser.add_argument("--quick", action="store_true", help="4 networks and short windows")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    given = parser.parse_args()
    problem = nvml.problem(given.device) if given.device != "cpu" else None
    if problem is not None:
        print(f"no GPU can be measured: {problem}", file=sys.stderr)
        return 4
    found = run(given)["summary"]
    print(json.dumps(found, indent=1) if given.json else "\n".join(f"{key}: {item}" for key, item in found.items()))
    return int(found["repeatable"] is False or found["energy_agrees"] is False) if given.device != "cpu" else 0


if __name__ == "__main__":
    sys.exit(main())
