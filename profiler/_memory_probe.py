"""The memory of a training step, measured: real iterations in a fresh process, and the most they have used.

`python -m profiler._memory_probe TASK` is that process; TASK is JSON. It answers in one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from devices.agent._memory import Peak
from hilnas.errors import DeviceError
from profiler._training_plan import ArchitectureStep, TrainingPlan

#: Blocks from 64 KiB on go back to the system when they are freed: else the C library keeps 20 to 40 % more.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class MeasuredMemory:
    """Bytes that the process has used at most over what it used before it built the module.

    On a GPU `peak_bytes` is what PyTorch's allocator has given, `reserved_bytes` what it has taken from the device;
    on a host both are resident memory.
    """

    peak_bytes: int
    reserved_bytes: int
    software: str


def measure_training_memory(
    target: str,
    arguments: Mapping[str, Any],
    plan: TrainingPlan,
    *,
    iterations: int = 2,
    threads: int = 1,
    timeout_s: float = 900.0,
) -> MeasuredMemory:
    """Return what iterations of training the module that `package.module:function(**arguments)` makes have used.

    The plan's optimiser is a name. Raises DeviceError when the process fails, takes too long or is killed: often the
    memory did not suffice.
    """
    task = {"target": target, "arguments": dict(arguments), "plan": asdict(plan)}
    command = [sys.executable, "-m", "profiler._memory_probe"]
    command.append(json.dumps({**task, "iterations": iterations, "threads": threads}))
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": path}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"the training step of {target} took more than {timeout_s:.0f} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"It ended with {done.returncode}: the memory may not suffice."]
        raise DeviceError(f"the training step of {target} cannot be measured", said[-1])
    return MeasuredMemory(**json.loads(done.stdout.splitlines()[-1]))


def main(text: str) -> None:
    """Do a task and write what was measured."""
    import torch

    from profiler._training_torch import Training, make_batch
    from search_spaces._callables import load_callable

    task = json.loads(text)
    plan = _plan(task["plan"])
    torch.set_num_threads(task["threads"])
    build = load_callable(task["target"])
    warm_up(plan.device)
    is_cuda = plan.device.startswith("cuda")
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(plan.device)
    peak = Peak()
    with torch.device(plan.device):
        training = Training(build(**task["arguments"]), plan)
        train, valid = make_batch(plan), make_batch(plan) if plan.architecture_step else None
        for _ in range(task["iterations"]):
            training.iterate(train, valid)
    used = peak.report().get("peak_bytes", 0)
    reserved = used
    if is_cuda:
        used, reserved = torch.cuda.max_memory_allocated(plan.device), torch.cuda.max_memory_reserved(plan.device)
    sys.stdout.write(json.dumps({"peak_bytes": used, "reserved_bytes": reserved, "software": torch.__version__}) + "\n")


def _plan(values: Mapping[str, Any]) -> TrainingPlan:
    step = values["architecture_step"]
    if step is not None:
        step = ArchitectureStep(step["order"], tuple(step["names"]), step["optimiser"])
    return TrainingPlan(**{**values, "input_shape": tuple(values["input_shape"]), "architecture_step": step})


def warm_up(device: str) -> None:
    """Train something tiny, so that what libraries load once is there before."""
    import torch
    from torch import nn

    from profiler._training_torch import Training, make_batch

    plan = TrainingPlan((3, 8, 8), 2, "adam", device=device)
    with torch.device(device):
        layers = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(576, 4)]
        Training(nn.Sequential(*layers), plan).iterate(make_batch(plan))


if __name__ == "__main__":
    main(sys.argv[1])
