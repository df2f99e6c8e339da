"""DCA-NAS against PC-DARTS as the latency limit varies: Raspberry Pi 4 and Pixel 3 (the game of DCA-NAS' Figure 3).

Supernets of nasbench201 are trained on pictures. DCA-NAS searches once for each bound of a device's lookup graph; under
a limit its answer is the point of the graph that comes closest to the limit from below, or, where no point keeps it,
the strongest cell of the lowest bound that does. PC-DARTS knows no limit: its cell is the same under all of them, and
stands beside the strongest cell of its shares that keeps the limit. Accuracies are those on CIFAR-10 of the public
table, which no search has read; latencies are those of HW-NAS-Bench.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._fronts import paired, spread
from benchmarks._public_cells import column
from benchmarks._public_devices import reference_folder
from hilnas.output import answer
from hilnas.records import Architecture
from predictors._trials import cores
from profiler._campaign import silent
from search_spaces.nasbench201 import NasBench201
from searchers._cost_models import TableCost
from searchers._expected_cost import RelaxedCost, expected_cost
from searchers._nearest import derive_within
from searchers._supernet_jobs import Job, Searched, run_jobs
from searchers.supernets._base import Pictures, Task

SPACE = NasBench201()
#: Column of milliseconds -> limits in milliseconds.
LIMITS_MS = {
    "cifar10_raspi4_latency_ms": (20.0, 30.0, 40.0, 60.0),
    "cifar10_pixel3_latency_ms": (5.0, 10.0, 20.0),
}
OURS, PEER, FILTERED = "dca_nas", "pc_darts", "pc_darts within"
#: The lookup graph spans from this part of a device's lowest limit to this multiple of its highest.
_LOWEST, _HIGHEST = 0.6, 1.5


@dataclass(frozen=True)
class Device:
    """A column of latencies (s) by architecture, as it is and relaxed, and its limits (s)."""

    name: str
    latency_s: Mapping[str, float]
    relaxed: RelaxedCost
    limits_s: tuple[float, ...]

    @property
    def model(self) -> TableCost:
        """Return the latencies as exact costs."""
        return TableCost("latency", self.latency_s)

    def within(self, found: Searched, limit_s: float) -> Architecture | None:
        """Return the strongest cell of a search's shares that keeps the limit."""
        shares = [np.array(row) for row in found.outcome.shares]
        relaxed, limits = {"latency": self.relaxed}, {"latency": limit_s}
        return derive_within(SPACE, shares, relaxed, [self.model], limits) if shares else None


def main() -> int:
    """Print latencies and accuracies under every limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of pictures  [default: digits]")
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--bounds", type=int, default=6, help="points of a device's lookup graph")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        values = {"settings": vars(chosen), **run(chosen, devices(reference_folder()), Path(folder))}
    print(json.dumps(answer(values, 0), indent=2) if chosen.json else _text(values))
    return 0


def devices(folder: Path) -> list[Device]:
    """Return the two devices of the tables."""
    found = []
    for name, limits_ms in LIMITS_MS.items():
        latency_s = column(folder, "nb201_hwnasbench_cifar10", name, 1e-3)
        relaxed = expected_cost(SPACE, TableCost("latency", latency_s))
        title = name.removeprefix("cifar10_").removesuffix("_latency_ms")
        found.append(Device(title, latency_s, relaxed, tuple(limit * 1e-3 for limit in limits_ms)))
    return found


def run(chosen: argparse.Namespace, asked: Sequence[Device], folder: Path) -> dict[str, Any]:
    """Return one row a limit, and the points of every lookup graph."""
    accuracy = column(reference_folder(), "nb201_accuracy", "cifar10")
    seeds = range(chosen.seeds)
    jobs: dict[tuple[str, int, float], Job] = {}
    for seed in seeds:
        jobs[PEER, seed, 0.0] = _job(chosen, PEER, None, seed, 0.0, folder)
        for device in asked:
            for bound_s in _bounds(device, chosen.bounds):
                jobs[device.name, seed, bound_s] = _job(chosen, OURS, device, seed, bound_s, folder)
    found = dict(zip(jobs, run_jobs(list(jobs.values()), cores(), silent), strict=True))
    rows, graphs = [], []
    for device in asked:
        own = {seed: {b: found[device.name, seed, b] for b in _bounds(device, chosen.bounds)} for seed in seeds}
        graphs += [_graph(device, seed, own[seed]) for seed in seeds]
        for limit_s in device.limits_s:
            answers = {
                OURS: [_answer(device, own[seed], limit_s) for seed in seeds],
                PEER: [_derived(found[PEER, seed, 0.0]) for seed in seeds],
                FILTERED: [device.within(found[PEER, seed, 0.0], limit_s) for seed in seeds],
            }
            rows.append(_row(device, limit_s, answers, accuracy))
    times = {
        OURS: spread([item.elapsed_s for (name, _, _), item in found.items() if name != PEER]),
        PEER: spread([item.elapsed_s for (name, _, _), item in found.items() if name == PEER]),
    }
    return {"rows": rows, "search_s": times, "graphs": graphs}


def _bounds(device: Device, points: int) -> list[float]:
    limits = device.limits_s
    return [float(f"{item:.4g}") for item in np.geomspace(_LOWEST * min(limits), _HIGHEST * max(limits), points)]


def _job(chosen: argparse.Namespace, name: str, device: Device | None, seed: int, bound_s: float, folder: Path) -> Job:
    pictures = Pictures(Path(chosen.data).resolve() if chosen.data else None, chosen.images)
    skeleton = {**SPACE.small, "classes": pictures.at(SPACE.input_shape).classes}
    costs = {} if device is None else {"latency": device.relaxed}
    models = () if device is None else (device.model,)
    limits = {} if device is None else {"latency": bound_s}
    options = {"epochs": chosen.epochs, **({} if device is None else {"bounds": 1})}
    own = folder / f"{PEER if device is None else device.name}-{seed}-{bound_s:g}"
    return Job(name, Task(SPACE, skeleton, pictures, limits, costs, models, seed), options, own)


def _derived(found: Searched) -> Architecture | None:
    return found.outcome.architectures[0] if found.outcome.architectures else None


def _answer(device: Device, graph: Mapping[float, Searched], limit_s: float) -> Architecture | None:
    """Return the point of a lookup graph that comes closest to the limit from below, else what strength offers."""
    points = [item for item in map(_derived, graph.values()) if item is not None]
    kept = [item for item in points if device.latency_s[item.text] <= limit_s]
    if kept:
        return max(kept, key=lambda item: device.latency_s[item.text])
    return device.within(graph[min(graph)], limit_s)


def _graph(device: Device, seed: int, graph: Mapping[float, Searched]) -> dict[str, Any]:
    points = [(bound_s, _derived(item)) for bound_s, item in graph.items()]
    realised = [(bound_s, device.latency_s[item.text]) for bound_s, item in points if item is not None]
    return {"device": device.name, "seed": seed, "bound_and_latency_s": realised}


def _row(
    device: Device, limit_s: float, answers: Mapping[str, Sequence[Architecture | None]], accuracy: Mapping[str, float]
) -> dict[str, Any]:
    feasible = [accuracy[text] for text, value in device.latency_s.items() if value <= limit_s]
    reached = {name: [_of(accuracy, item) for item in found] for name, found in answers.items()}
    methods = {
        name: {
            "accuracy": spread(reached[name]),
            "latency_s": spread([_of(device.latency_s, item) for item in found]),
            "kept": sum(item is not None and device.latency_s[item.text] <= limit_s for item in found) / len(found),
        }
        for name, found in answers.items()
    }
    return {
        "device": device.name,
        "limit_s": limit_s,
        "best_feasible": max(feasible),
        "methods": methods,
        "difference": {name: paired(reached[OURS], reached[name]) for name in (PEER, FILTERED)},
    }


def _of(values: Mapping[str, float], item: Architecture | None) -> float | None:
    return None if item is None else values.get(item.text)


def _text(values: Mapping[str, Any]) -> str:
    lines = [f"{values['settings']}"]
    for row in values["rows"]:
        parts = [f"{row['device']:7} {row['limit_s'] * 1e3:4g} ms, best feasible {row['best_feasible']:.2f}"]
        for name, item in row["methods"].items():
            mean_ms = _shown(item["latency_s"], 1e3)
            parts.append(f"{name} {_shown(item['accuracy'])} % at {mean_ms} ms, kept {item['kept']:.0%}")
        lines.append("; ".join(parts))
    times = ", ".join(f"{name} {_shown(item)} s" for name, item in values["search_s"].items())
    return "\n".join([*lines, f"a search: {times}"])


def _shown(item: Mapping[str, Any], factor: float = 1.0) -> str:
    if item["mean"] is None:
        return "n/a"
    return f"{item['mean'] * factor:.2f} +- {(item['sd'] or 0) * factor:.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
