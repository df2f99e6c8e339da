"""The life of every tensor of a training step, seen without allocating one: fake tensors and weak references."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from hilnas.errors import HilnasError, UsageError
from profiler._allocators import Event
from profiler._scratch import convolution_backward_scratch, convolution_scratch
from profiler._training_plan import Trace, TrainingPlan
from profiler._training_torch import Training, make_batch


class StorageTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down when storages on a device come and go; entered after the fake tensors' mode, to be asked first.

    A storage comes with the first operator that returns a tensor in it and goes with its last owner, whether that is
    Python or autograd: torch keeps the storage's Python object, and weak references to it, as long as the storage.
    """

    def __init__(self, device: str = "cpu", scratch: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.events: list[Event] = []
        self.sizes: dict[int, int] = {}
        self._device = torch.device(device).type
        self._scratch = _SCRATCH if scratch else {}
        self._seen: dict[int, tuple[int, weakref.ref[Any]]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        self._see(found)
        scratch = self._scratch.get(func)
        if scratch is not None:
            self._pass(scratch(args, found))
        return found

    def name(self, tensor: Tensor) -> int | None:
        """Return the name of a tensor's storage, None where it has never been seen."""
        seen = self._seen.get(tensor.untyped_storage()._cdata)
        return None if seen is None else seen[0]

    def names(self, tensors: Iterable[Tensor | None]) -> frozenset[int]:
        """Return the names of storages, each once."""
        found = (None if tensor is None else self.name(tensor) for tensor in tensors)
        return frozenset(name for name in found if name is not None)

    def living(self) -> frozenset[int]:
        """Return the names of the storages that are there."""
        return frozenset(name for name, _ in self._seen.values())

    def _see(self, found: Any) -> None:
        if isinstance(found, Tensor):
            self._register(found)
        elif isinstance(found, list | tuple):
            for item in found:
                self._see(item)

    def _register(self, tensor: Tensor) -> None:
        if tensor.device.type != self._device:
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen or not size:
            return
        name = len(self.sizes)
        self.sizes[name] = size
        self.events.append((name, size))
        self._seen[key] = name, weakref.ref(storage, partial(self._gone, key, name))

    def _gone(self, key: int, name: int, _: Any) -> None:
        self._seen.pop(key, None)
        self.events.append((name, 0))

    def _pass(self, size: int) -> None:
        """Write down a block that is there only while an operator runs."""
        if size:
            name = len(self.sizes)
            self.sizes[name] = size
            self.events += [(name, size), (name, 0)]


def trace_training(build_module: Callable[[], nn.Module], plan: TrainingPlan) -> Trace:
    """Return the trace of building a module and of one iteration of its training once the optimisers have states.

    Raises UsageError when the module cannot be built or run on fake tensors.
    """
    # Where there is no GPU, PyTorch has no kernels for one: those for the CPU keep nearly the same tensors.
    device = plan.device if plan.device == "cpu" or torch.cuda.is_available() else "cpu"
    tracker = StorageTracker(device, scratch=plan.device == "cpu")
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device(device), tracker:
        try:
            return _iterate(tracker, build_module, plan)
        except HilnasError:
            raise
        except Exception as error:  # a module of the user may raise anything
            raise UsageError(
                f"the module cannot be trained on tensors without values: {type(error).__name__}: {error}",
                "What it does may depend on values (.item(), a mask as an index), or its input has another shape.",
                "Check input_shape and dtype; measure its training memory instead where values decide.",
            ) from error


def _iterate(tracker: StorageTracker, build_module: Callable[[], nn.Module], plan: TrainingPlan) -> Trace:
    module = build_module()
    weights = tracker.names([*module.parameters(), *module.buffers()])
    training = Training(module, plan)
    training.prime()
    states = tracker.names(_states(training.optimisers))
    train = make_batch(plan)
    valid = make_batch(plan) if plan.architecture_step else None
    inputs = tracker.names([*train, *(valid or ())])
    before = tracker.living()
    passes: dict[str, frozenset[int]] = {}

    def observe(passed: str) -> None:
        gradients = tracker.names(parameter.grad for parameter in module.parameters())
        passes[passed] = gradients if passed == "backward" else tracker.living() - before

    training.iterate(train, valid, observe)
    kinds = {
        "weight": weights,
        "optimiser": states - weights,
        "input": inputs,
        "activation": passes["forward"],
        "gradient": passes["backward"],
    }
    return Trace(tuple(tracker.events), tracker.sizes, kinds)


def _states(optimisers: Sequence[Optimizer]) -> list[Tensor]:
    return [
        item
        for optimiser in optimisers
        for state in optimiser.state.values()
        for item in state.values()
        if isinstance(item, Tensor)
    ]


def _of_convolution(args: tuple[Any, ...], found: Any) -> int:
    x, weight = args[:2]
    return convolution_scratch(x.shape, weight.shape, found.shape, x.element_size())


def _of_convolution_backward(args: tuple[Any, ...], found: Any) -> int:
    y, x, weight = args[:3]
    return convolution_backward_scratch(x.shape, weight.shape, y.shape, x.element_size())


_SCRATCH = {
    torch.ops.aten.convolution.default: _of_convolution,
    torch.ops.aten.convolution_backward.default: _of_convolution_backward,
}
