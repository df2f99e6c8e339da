"""What one step of a differentiable search takes, in time and memory, as parts of DCA-NAS are added to DARTS.

A step is one in the shares and one in the weights, first order, on the supernet of `darts` (8 cells, 16 channels,
CIFAR's size). Every variant is timed in turn with plain DARTS in one run, each pair in an order that is drawn; the peak
memory is that of a process of its own, less what it had before the supernet was built. Prints ratios to plain DARTS.
`--equal-memory`: images per second as well, with the largest batch that takes no more than plain DARTS does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks._timing import Comparison, interleave
from hilnas.output import answer
from profiler._memory_probe import ENVIRONMENT, warm_up
from search_spaces._supergraph import Supernet
from search_spaces.darts import Darts
from searchers._supernet_search import DARTS, DCA_NAS, PC_DARTS, Arithmetic, Batch, Method, SupernetSearch

VARIANTS: Mapping[str, Method] = {
    "darts": DARTS,
    "+ shared operations": replace(DARTS, style=Supernet(shared=True)),
    "+ bottleneck": replace(DARTS, style=Supernet(shared=True, bottleneck=4)),
    "+ derived cells (dca_nas)": DCA_NAS,
    "pc_darts": PC_DARTS,
}
PLAIN = "darts"
#: What all three are to give at least: time and memory of plain DARTS over theirs.
TARGETS = {"+ derived cells (dca_nas)": (10.0, 12.0)}
_RATE = 0.025
_SEED = 0


def main() -> int:
    """Print ratios, or the peak of one variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5, help="pairs of steps a variant")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--equal-memory", action="store_true", help="images per second with as much memory")
    parser.add_argument("--peak-of", choices=list(VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.peak_of:
        print(json.dumps(peak_bytes(VARIANTS[chosen.peak_of], chosen)))
        return 0
    values = run(chosen)
    print(json.dumps(answer(values, _SEED), indent=2) if chosen.json else _text(values))
    return 0


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return time and memory of every variant."""
    rows = []
    plain_bytes = _peak(PLAIN, chosen)
    plain = _Stepper(VARIANTS[PLAIN], chosen)
    for name, method in VARIANTS.items():
        if name == PLAIN:
            continue
        ours = _Stepper(method, chosen)
        pairs = [([ours], [plain])] * (chosen.steps + 1)
        ours_s, plain_s = interleave(pairs, _Stepper.step, _Stepper.step, _SEED)
        most = _peak(name, chosen)
        faster, smaller = TARGETS.get(name, (None, None))
        rows.append(
            {
                "variant": name,
                "time": Comparison("darts", faster, ours_s[1:], plain_s[1:]).to_json(),
                "peak_bytes": most,
                "memory_ratio": plain_bytes / most,
                "memory_target": smaller,
                "calls": len(ours.search.graph.calls),
                "equal_memory": _equal_memory(name, chosen, plain_bytes, most, plain) if chosen.equal_memory else None,
            }
        )
    return {
        "batch": chosen.batch,
        "cells": chosen.cells,
        "width": chosen.width,
        "darts_bytes": plain_bytes,
        "rows": rows,
    }


def _equal_memory(
    name: str, chosen: argparse.Namespace, plain_bytes: int, most: int, plain: _Stepper
) -> dict[str, Any]:
    """Return the largest batch within the memory of plain DARTS, to some percent, and images per second over its."""
    first = max(chosen.batch + 1, int(chosen.batch * plain_bytes / most))
    found = _peak(name, _with_batch(chosen, first))
    of_an_image = max(1.0, (found - most) / (first - chosen.batch))
    batch = max(chosen.batch, int(first + (plain_bytes - found) / of_an_image))
    while (found := _peak(name, _with_batch(chosen, batch))) > plain_bytes and batch > chosen.batch:
        batch = max(chosen.batch, int(0.97 * batch))
    ours = _Stepper(VARIANTS[name], _with_batch(chosen, batch))
    ours_s, plain_s = interleave([([ours], [plain])] * (chosen.steps + 1), _Stepper.step, _Stepper.step, _SEED)
    ratios = [other / own * batch / chosen.batch for own, other in zip(ours_s[1:], plain_s[1:], strict=True)]
    return {
        "batch": batch,
        "peak_bytes": found,
        "images_per_s": batch / median(ours_s[1:]),
        "ratio": median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }


def _with_batch(chosen: argparse.Namespace, batch: int) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(chosen), "batch": batch})


class _Stepper:
    """A search with batches of noise."""

    def __init__(self, method: Method, chosen: argparse.Namespace) -> None:
        self.search = SupernetSearch(
            Darts(cells=chosen.cells, width=chosen.width), method, _SEED, Arithmetic(chosen.device)
        )
        self._batch = _batch(chosen)

    def step(self) -> None:
        """Take one step."""
        self.search.step(self._batch, self._batch, _RATE)
        if self._batch[0].is_cuda:
            torch.cuda.synchronize()


def _batch(chosen: argparse.Namespace) -> Batch:
    rng = np.random.default_rng(_SEED)
    images = torch.from_numpy(rng.standard_normal((chosen.batch, 3, 32, 32), dtype=np.float32))
    return images.to(chosen.device), torch.from_numpy(rng.integers(0, 10, chosen.batch)).to(chosen.device)


def peak_bytes(method: Method, chosen: argparse.Namespace) -> int:
    """Return what two steps add at most to what this process, or the allocator of its GPU, holds before."""
    if chosen.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        for _ in range(2):
            _Stepper(method, chosen).step()
        return int(torch.cuda.max_memory_allocated())
    warm_up("cpu")  # what libraries load once is no part of a supernet
    before = _status_bytes("VmRSS")
    stepper = _Stepper(method, chosen)
    for _ in range(2):
        stepper.step()
    return _status_bytes("VmHWM") - before


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _peak(name: str, chosen: argparse.Namespace) -> int:
    size = [f"--{key}={getattr(chosen, key)}" for key in ("cells", "width", "batch", "device")]
    command = [sys.executable, "-m", "benchmarks.supernet_step", "--peak-of", name, *size]
    done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout))


def _text(values: Mapping[str, Any]) -> str:
    lines = [
        f"supernet of {values['cells']} cells, {values['width']} channels, batch {values['batch']}, one thread; "
        f"plain DARTS at most {values['darts_bytes'] / 1e6:.0f} MB"
    ]
    for row in values["rows"]:
        ratio, target = row["time"]["ratio"], row["time"]["target"]
        low, high = ratio["quartiles"]
        asked = "" if target is None else f" (targets {target:g}, {row['memory_target']:g})"
        lines.append(
            f"{row['variant']:28} {row['time']['ours_s']:7.3f} s, {ratio['median']:5.1f} x faster "
            f"({low:.1f} to {high:.1f}); {row['peak_bytes'] / 1e6:6.0f} MB, {row['memory_ratio']:5.1f} x less{asked}"
        )
        equal = row["equal_memory"]
        if equal is not None:
            lines.append(
                f"{'':28} with {equal['peak_bytes'] / 1e6:.0f} MB: batch {equal['batch']}, {equal['images_per_s']:.0f} "
                f"images/s, {equal['ratio']:.1f} x ({equal['ratio_range'][0]:.1f} to {equal['ratio_range'][1]:.1f})"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
