"""How much of a campaign the board spends measuring, over a link of 20 ms and 20 Mbit/s, against a naive loop.

The duty cycle counts the warm-up and timed calls that the stopping rule asked for, over the campaign's seconds. Beside
it stand the seconds per model whose interval is within +- 1 %, which no longer measuring can improve.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _naive_loop
from benchmarks._boards import accepted, config_of, device_of, farm, networks
from benchmarks._report import options
from hilnas.output import answer
from profiler._campaign import measure
from profiler._workspace import Workspace
from profiler.builders.onnxruntime import OnnxRuntime

#: Each way; a round trip takes twice as long.
DELAY_S = 0.020
RATE_BIT_S = 20e6
TARGET = 0.95


def run(n: int, n_naive: int) -> dict[str, Any]:
    """Return the figures of both ways on one board, measured one after the other in one run."""
    with farm() as opened, tempfile.TemporaryDirectory() as folder, Workspace.open(Path(folder)) as workspace:
        board = opened.add("duty", face="linux")
        board.shape(delay_s=DELAY_S, rate_bit_s=RATE_BIT_S)
        workloads = networks(n)
        protocol = device_of(board).protocol
        builder = OnnxRuntime(workspace.artifacts)
        artifacts = [builder.build(workload) for workload in workloads[:n_naive]]
        naive = _naive_loop.measure(board, artifacts, protocol)
        done = measure(workspace, config_of(board), workloads, protocol=protocol)
        rows = workspace.store.database.read("SELECT total(wall_s) AS device_s FROM invocations")
        ours, theirs = accepted(done.measurements), accepted(naive.measurements)
        return {
            "models": n,
            "naive_models": n_naive,
            "link": {"delay_s_each_way": DELAY_S, "rate_bit_s": RATE_BIT_S},
            "target": TARGET,
            "duty_cycle": done.summary.duty_cycle,
            "naive_duty_cycle": naive.busy_s / naive.elapsed_s,
            "accepted": len(ours),
            "naive_accepted": len(theirs),
            "elapsed_s_per_accepted": done.summary.elapsed_s / max(1, len(ours)),
            "naive_elapsed_s_per_accepted": naive.elapsed_s / max(1, len(theirs)),
            "device_s_per_accepted": float(rows[0]["device_s"]) / max(1, len(ours)),
            "median_relative_half_width": done.summary.median_relative_half_width,
            "noise_floor": done.summary.noise_floor,
            "rejected": done.summary.rejected,
        }


def main() -> None:
    """Run and print."""
    chosen = options(__doc__ or "")
    found = run(12, 4) if chosen.quick else run(100, 20)
    if chosen.json:
        print(json.dumps(answer(found), indent=2))
        return
    for key, value in found.items():
        print(f"{key}: {value}")
    met = (found["duty_cycle"] or 0.0) >= TARGET
    print(f"target {TARGET}: {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
