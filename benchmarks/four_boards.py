"""Whether one controller keeps several boards busy: each board's duty cycle alone, and with all of them at once.

Four stand-in Jetsons wait in their runtime without computing, so that what is seen is the controller and not the cores
that all stand-ins share. Two stand-ins that do compute are tried as well, as many as there are cores.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks._boards import config_of, farm, networks
from benchmarks._report import options
from devices._config import DeviceConfig
from farm import Board
from hilnas.output import answer
from hilnas.records import MeasurementProtocol
from profiler._campaign import measure
from profiler._workspace import Workspace

TARGET_POINTS = 3.0
_PROTOCOL = replace(MeasurementProtocol(), min_invocations=3, max_invocations=3, min_measure_s=0.4, max_measure_s=1.2)


def run(n: int) -> dict[str, Any]:
    """Return duty cycles of n networks a board, alone and together, of waiting and of computing boards."""
    with farm() as opened:
        waiting = [opened.add(f"jetson{i}", face="orin_nano", runtime=False) for i in range(4)]
        found = {"waiting": _compared([_jetson(board) for board in waiting], n)}
        for board in waiting:
            board.power_off()
        computing = [opened.add(f"linux{i}", face="linux") for i in range(2)]
        found["computing"] = _compared([config_of(board) for board in computing], n)
    return {"models_a_board": n, "target_points": TARGET_POINTS, **found}


def _jetson(board: Board) -> DeviceConfig:
    return config_of(board, "jetson", backend="trtexec")


def _compared(configs: list[DeviceConfig], n: int) -> dict[str, Any]:
    alone = [_at_once([config], n)[0] for config in configs]
    together = _at_once(configs, n)
    points = [100 * (a - b) for a, b in zip(alone, together, strict=True)]
    return {"alone": alone, "together": together, "points_lost": points, "worst": max(points)}


def _at_once(configs: list[DeviceConfig], n: int) -> list[float]:
    """Return the duty cycles of campaigns that run at the same time, one process a board."""
    with multiprocessing.get_context("spawn").Pool(len(configs)) as pool:
        return pool.starmap(_duty_cycle, [(config, n) for config in configs])


def _duty_cycle(config: DeviceConfig, n: int) -> float:
    with tempfile.TemporaryDirectory() as folder, Workspace.open(Path(folder)) as workspace:
        return measure(workspace, config, networks(n), protocol=_PROTOCOL).summary.duty_cycle or 0.0


def main() -> None:
    """Run and print."""
    chosen = options(__doc__ or "")
    found = run(4 if chosen.quick else 12)
    if chosen.json:
        print(json.dumps(answer(found), indent=2))
        return
    for name in ("waiting", "computing"):
        part = found[name]
        for alone, together in zip(part["alone"], part["together"], strict=True):
            print(f"{name}: duty cycle {alone:.3f} alone, {together:.3f} with the others")
        met = part["worst"] <= TARGET_POINTS
        print(f"{name}: at most {part['worst']:.1f} points lost; target {TARGET_POINTS}: {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
