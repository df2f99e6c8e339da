"""The memory that training a model would take, as `hilnas profile --static MODEL --train N` shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hilnas import plugins
from hilnas.errors import UnknownName, UsageError
from profiler._models import ModelSource, build_model, user_code
from profiler._plan import load_space
from profiler._training_memory import TrainingMemory, predict_training_memory
from profiler._training_plan import ArchitectureStep

if TYPE_CHECKING:
    from torch import nn

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """Examples a step, the optimiser's name, and the order of the architecture's step (None: there is none)."""

    batch: int
    optimiser: str = "sgd"
    order: int | None = None


def training_table(
    source: ModelSource, request: TrainingRequest, space: str | None = None, space_options: str = "{}"
) -> dict[str, TrainingMemory]:
    """Return the memory of a training step by kind of device: nothing is allocated, nothing is run.

    Raises UsageError for an ONNX file, which cannot be trained, and for an optimiser that is not there.
    """
    from profiler._training_torch import OPTIMISERS

    if request.optimiser not in OPTIMISERS:
        raise UnknownName("optimiser", request.optimiser, OPTIMISERS)
    build, input_shape = _module(source, space, space_options)
    step = None if request.order is None else ArchitectureStep(request.order)
    return {
        device: predict_training_memory(
            build, input_shape[1:], request.batch, request.optimiser, architecture_step=step, device=device
        )
        for device in DEVICES
    }


def shown_memory(found: dict[str, TrainingMemory]) -> list[tuple[str, ...]]:
    """Return one row a figure: its name, and MB on each of DEVICES."""
    values = {device: memory.to_json() for device, memory in found.items()}
    names = next(iter(values.values()))
    return [
        (name.removesuffix("_bytes"), *(f"{values[device][name] / 1e6:,.1f}" for device in values)) for name in names
    ]


def _module(
    source: ModelSource, space: str | None, space_options: str
) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    """Return what builds the module, and its input shape with the batch first."""
    prefix = source.target.partition(":")[0]
    if space is not None or (":" in source.target and prefix in plugins.names("search_spaces")):
        built = load_space(space or prefix, space_options)
        architecture = built.parse(source.target)
        return lambda: built.module(architecture), built.shape_of(architecture)
    if not source.is_function:
        raise UsageError(
            f"{source.label} cannot be trained: it is a file",
            "--train needs a network that can learn.",
            "Name what builds it: --static package.module:function --train N",
        )
    inputs = build_model(source, without_values=True).inputs
    if len(inputs) != 1:
        raise UsageError(f"{source.label} takes {len(inputs)} inputs", "--train knows networks of one input.")

    def build() -> nn.Module:
        with user_code():
            return build_model(source).module

    return build, inputs[0].shape
