"""Energy of a GPU under a load: what its counter says against its power, integrated."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from devices.agent.backends import _gpu
from devices.agent.sensors import nvml

#: The power that is read is an average of about a second.
_SETTLE_S = 3.0


class Load(NamedTuple):
    """An exported network (.pt2) at one batch size, run again and again."""

    path: str
    batch: int


def measure_energy(load: Load | None, device: str, window_s: float) -> dict[str, Any]:
    """Return the counter's joules and those of power integrated over the same window, under one load (None: idle).

    The load is a process of its own, so that nothing of it is left on the GPU afterwards.
    """
    context = multiprocessing.get_context("spawn")
    stop, ready, calls = context.Event(), context.Event(), context.Value("q", 0)
    process = context.Process(target=_run, args=(load, device, stop, ready, calls), daemon=True)
    if load is not None:
        process.start()
        ready.wait(120.0)
    time.sleep(_SETTLE_S)
    start, samples, until = calls.value, [], time.monotonic() + window_s
    while time.monotonic() < until:
        samples.append(nvml.read_or_nothing(device))
        time.sleep(0.05)
    done = calls.value - start
    stop.set()
    if load is not None:
        process.join(60.0)
        samples = samples if done else []  # it did not run: this would be the energy of something else
    return {"load": "idle" if load is None else f"batch {load.batch}", "calls": done, **energy_of(samples)}


def _run(load: Load, device: str, stop: Any, ready: Any, calls: Any) -> None:
    _gpu.select({"device": device})
    import torch
    from torch.export.passes import move_to_device_pass

    module = move_to_device_pass(torch.export.load(load.path), "cuda").module()
    x = torch.zeros(load.batch, 3, 32, 32, device="cuda")
    with torch.inference_mode():
        while not stop.is_set():
            module(x)
            torch.cuda.synchronize()
            calls.value += 1
            ready.set()


def energy_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return joules of the counter and of power x time (trapezoids) between the first and last change of the counter.

    The counter moves in steps: between two of its steps the window is known exactly. n/a where either is not read.
    """
    usable = [item for item in samples if item.get("energy_j") is not None and item.get("power_w") is not None]
    steps = [i for i in range(1, len(usable)) if usable[i]["energy_j"] != usable[i - 1]["energy_j"]]
    if len(steps) < 3:
        return {"counter_j": None, "integrated_j": None, "relative_difference": None, "samples": len(usable)}
    window = usable[steps[0] : steps[-1] + 1]
    integrated_j = sum((b["at_s"] - a["at_s"]) * (a["power_w"] + b["power_w"]) / 2 for a, b in pairwise(window))
    counter_j = window[-1]["energy_j"] - window[0]["energy_j"]
    return {
        "counter_j": counter_j,
        "integrated_j": integrated_j,
        "relative_difference": counter_j / integrated_j - 1,
        "window_s": window[-1]["at_s"] - window[0]["at_s"],
        "mean_power_w": counter_j / (window[-1]["at_s"] - window[0]["at_s"]),
        "samples": len(window),
    }
