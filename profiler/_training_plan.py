"""What a training step does beside learning weights, and what is known of its memory afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hilnas.errors import UsageError
from profiler._allocators import Event

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


@dataclass(frozen=True, slots=True)
class ArchitectureStep:
    """How a supernet's architecture parameters are learnt, after each step of its weights.

    `order` 1 takes their gradient at the weights as they are, 2 one virtual step ahead (DARTS): with a copy of the
    weights, and two more passes for a finite difference. `names`: a parameter belongs to the architecture when a part
    of its dotted name begins with one of them. Raises UsageError for another order or no names.
    """

    order: int = 1
    names: tuple[str, ...] = ("alpha",)
    optimiser: str = "adam"

    def __post_init__(self) -> None:
        if self.order not in (1, 2) or not self.names:
            raise UsageError("an architecture step is of order 1 or 2, and names its parameters")

    def owns(self, parameter: str) -> bool:
        """Return whether a parameter of this dotted name belongs to the architecture."""
        return any(part.startswith(self.names) for part in parameter.split("."))


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How a module is trained: the shape of one example, their number and dtype, optimiser and device.

    `optimiser` is the name of one or a function of the parameters. Raises UsageError for an empty batch.
    """

    input_shape: tuple[int, ...]
    batch: int
    optimiser: str | Callable[[Iterable[Tensor]], Optimizer] = "sgd"
    architecture_step: ArchitectureStep | None = None
    device: str = "cpu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.batch < 1 or any(size < 1 for size in self.input_shape):
            raise UsageError(f"no batch of examples: {self.batch} of shape {self.input_shape}")


@dataclass(frozen=True, slots=True)
class Trace:
    """When which block of memory came and went, from building a module to the end of an iteration.

    `sizes` are bytes as they were asked for; `kinds` the blocks that are weights, gradients, states of the optimisers,
    inputs, or kept from the forward for the backward pass.
    """

    events: tuple[Event, ...]
    sizes: Mapping[int, int]
    kinds: Mapping[str, frozenset[int]]

    def total_bytes(self, kind: str) -> int:
        """Return the bytes of all blocks of a kind."""
        return sum(self.sizes[name] for name in self.kinds[kind])

    def held(self, event: int) -> set[int]:
        """Return the blocks that are there after an event."""
        found: set[int] = set()
        for name, size in self.events[: event + 1]:
            (found.add if size else found.discard)(name)
        return found
