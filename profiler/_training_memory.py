"""The memory of a training step, predicted without allocating it, and its calibration to a device."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilnas.errors import BadFile, UsageError
from profiler._allocators import Allocator, CudaAllocator, HostAllocator, replay
from profiler._training_plan import ArchitectureStep, Trace, TrainingPlan

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Bytes of a training step on a device.

    Weights (with buffers), gradients, states of the optimisers, and activations (what the forward keeps for the
    backward pass) are what each needs in all, as it is asked for; inputs and labels are counted with none of them.
    They are not all there at once: activations go while gradients come. `peak_bytes` is the most that is in use at a
    time, with everything; `temporary_bytes` what is none of these kinds at that moment: gradients of activations,
    results on their way, copies an operator works on, and what the allocator rounds up. `reserved_bytes` is the most
    taken from the device: what counts where it is full.
    """

    weight_bytes: int
    gradient_bytes: int
    optimiser_bytes: int
    input_bytes: int
    activation_bytes: int
    temporary_bytes: int
    peak_bytes: int
    reserved_bytes: int

    def to_json(self) -> dict[str, int]:
        """Return the fields as a JSON value."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a device takes for a predicted peak: `offset_bytes + factor * predicted`.

    The offset is what libraries take once a process (handles, workspaces, pools). `device` and `software` say where
    and with what it was measured.
    """

    offset_bytes: int = 0
    factor: float = 1.0
    device: str = ""
    software: str = ""

    def apply(self, predicted_bytes: int) -> int:
        """Return the bytes on the device."""
        return round(self.offset_bytes + self.factor * predicted_bytes)

    def save(self, path: Path) -> None:
        """Write the calibration as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Return the calibration of a file; raise BadFile where it is none."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadFile(f"{path} is no calibration of training memory: {error}") from error
        kinds: dict[str, type | tuple[type, ...]] = {
            "offset_bytes": int,
            "factor": (int, float),
            "device": str,
            "software": str,
        }
        good = isinstance(values, dict) and values.keys() == kinds.keys()
        if not good or not all(isinstance(values[key], kind) for key, kind in kinds.items()) or values["factor"] <= 0:
            raise BadFile(f"{path} is no calibration of training memory: expected are {', '.join(kinds)}")
        return cls(**values)


def calibrate(pairs: Sequence[tuple[int, int]], device: str = "", software: str = "") -> Calibration:
    """Return the calibration of (predicted, measured) bytes of small networks: the mean of what they take beside.

    Raises UsageError without pairs.
    """
    if not pairs:
        raise UsageError("a calibration needs at least one network that was measured")
    offset = sum(measured - predicted for predicted, measured in pairs) / len(pairs)
    return Calibration(round(offset), 1.0, device, software)


def predict_training_memory(
    build_module: Callable[[], nn.Module],
    input_shape: Sequence[int],
    batch: int,
    optimiser: str | Callable[[Iterable[Tensor]], Optimizer] = "sgd",
    *,
    architecture_step: ArchitectureStep | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    calibration: Calibration | None = None,
) -> TrainingMemory:
    """Return the memory that training a module takes, found by running a step on tensors without values.

    `build_module` makes the module, whatever it is; a supernet has an `architecture_step` as well. `input_shape` is
    that of one example. `optimiser` is sgd, momentum, rmsprop, adam, adamw or a function of the parameters. The loss
    is a cross entropy where the result is (batch, classes), else a mean. `calibration` turns the peak and what is
    reserved into those of a device. Raises UsageError for a module that cannot be run this way.
    """
    allocator = allocator_of(device)
    from profiler._trace_torch import trace_training

    plan = TrainingPlan(tuple(input_shape), batch, optimiser, architecture_step, device, dtype)
    return summarise(trace_training(build_module, plan), allocator, calibration or Calibration())


def allocator_of(device: str) -> Allocator:
    """Return the allocator of a kind of device: `cpu` or `cuda`, with or without a number; raise UsageError."""
    kinds: dict[str, type[Allocator]] = {"cpu": HostAllocator, "cuda": CudaAllocator}
    kind = device.partition(":")[0]
    if kind not in kinds:
        raise UsageError(f"the memory of {device!r} cannot be predicted", f"Known are {', '.join(kinds)}.")
    return kinds[kind]()


def summarise(trace: Trace, allocator: Allocator, calibration: Calibration) -> TrainingMemory:
    """Return what a trace needs on an allocator."""
    peak = replay(trace.events, allocator)
    named = frozenset().union(*trace.kinds.values())
    held = sum(trace.sizes[name] for name in trace.held(peak.event) & named)
    totals: dict[str, Any] = {f"{kind}_bytes": trace.total_bytes(kind) for kind in trace.kinds}
    return TrainingMemory(
        **totals,
        temporary_bytes=peak.allocated_bytes - held,
        peak_bytes=calibration.apply(peak.allocated_bytes),
        reserved_bytes=calibration.apply(peak.reserved_bytes),
    )
