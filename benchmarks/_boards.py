"""What the benchmarks on stand-in boards share: a board, its device, and networks to measure."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from devices._base import Device
from devices._config import DeviceConfig, parse_config
from farm import Board, Farm, why_unavailable
from hilnas import plugins
from hilnas.records import Measurement, Workload
from profiler._plan import load_space, sample_workloads


@contextmanager
def farm() -> Iterator[Farm]:
    """Give a farm, or end with what it lacks."""
    missing = why_unavailable()
    if missing is not None:
        sys.exit(f"the farm cannot be built here: {missing}")
    with Farm() as opened:
        yield opened


def config_of(board: Board, kind: str = "ssh_linux", **values: Any) -> DeviceConfig:
    """Return the config by which hilnas reaches a stand-in board."""
    ssh = {"host": board.name, "config": str(board.ssh_config), "patience_s": 60.0, **values.pop("ssh", {})}
    return parse_config({"name": board.name, "kind": kind, "ssh": ssh, **values}, board.name)


def device_of(board: Board, kind: str = "ssh_linux", **values: Any) -> Device:
    """Return the device of a stand-in board."""
    return plugins.load("devices", kind, Device)(config_of(board, kind, **values))


def networks(n: int, seed: int = 0) -> list[Workload]:
    """Return n different networks of NAS-Bench-201."""
    return sample_workloads(load_space("nasbench201"), n, seed)


def accepted(measurements: Sequence[Measurement], half_width: float = 0.01) -> list[Measurement]:
    """Return those whose 95 % interval is within +- `half_width`."""
    return [m for m in measurements if m.status == "ok" and (m.relative_half_width or 0.0) <= half_width]


def quartiles(values: Sequence[float]) -> list[float]:
    """Return quartiles, median in the middle."""
    return [float(value) for value in np.percentile(values, (25, 50, 75))]
