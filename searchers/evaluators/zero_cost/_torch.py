"""What the indicators that run a network share: their options, input batches and untrained modules."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from hilnas.errors import UnknownName, UsageError
from search_spaces._graph import Graph
from search_spaces._torch import GraphModule, to_module
from searchers._torch import one_thread
from searchers.evaluators.zero_cost._base import Build, Indicator

#: Kinds of inputs: N(0, 1) noise; scikit-learn's 8x8 digits or pictures of a folder, resized to the network's input.
INPUTS = ("noise", "digits", "images")


@dataclass(frozen=True, kw_only=True)
class ModuleIndicator(Indicator):
    """An indicator that runs a shallow untrained network on a device of torch (`cpu`, `cuda`, `cuda:1`).

    Raises UsageError for a device that this torch does not have.
    """

    proxy: ClassVar[Mapping[str, Any]] = {"depth": 1}

    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            cause = str(error).partition("\n")[0]
            raise UsageError(f"torch cannot compute on {self.device!r} here", cause, "Take device=cpu") from error

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the options."""
        return asdict(self)

    def untrained(self, graph: Graph, build: Build | None, seed: int) -> nn.Module:
        """Return the network in training mode with seeded weights, what cannot reach its output left out if we can."""
        module = to_module(graph.without_dead(), seed=seed) if build is None else build(seed)
        return module.to(self.device)

    @contextmanager
    def reproducible(self, seed: int) -> Iterator[None]:
        """Compute in one thread and full precision, with random numbers of a seed: a user's module may draw some."""
        on_gpu = self.device != "cpu"
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        generators = torch.random.fork_rng(devices=[torch.device(self.device)] if on_gpu else [])
        with one_thread(), generators, exact if on_gpu else nullcontext():
            torch.manual_seed(seed)
            yield


@dataclass(frozen=True, kw_only=True)
class BatchIndicator(ModuleIndicator):
    """An indicator that shows a batch of inputs to the network; those of the folder `data` where one is given.

    Raises UnknownName or UsageError for inputs that are not there.
    """

    batch: int = 32
    inputs: str = "digits"
    data: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch < 2:
            raise UsageError(f"batch={self.batch}: inputs are compared with each other, so two at least are needed")
        if self.inputs not in INPUTS:
            raise UnknownName("kind of inputs", self.inputs, INPUTS)
        if self.inputs == "images" and not self.data:
            raise UsageError("inputs=images names no folder", "", "Add --score-option data=FOLDER")

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the options; the inputs are `images` wherever there is a folder."""
        return {**asdict(self), "inputs": self._kind}

    @property
    def fingerprint(self) -> str:
        """Return a hash of the pictures of the folder, nothing where none is given."""
        if not self.data:
            return ""
        return hashlib.sha256(_pictures("images", self.batch, self.seed, self.data).numpy().tobytes()).hexdigest()[:16]

    def inputs_of(self, graph: Graph) -> Tensor:
        """Return the batch for a network, on the device."""
        return input_batch(self._kind, graph.input.shape, self.batch, self.seed, self.data).to(self.device)

    @property
    def _kind(self) -> str:
        return "images" if self.data else self.inputs


@lru_cache(maxsize=8)
def input_batch(kind: str, shape: tuple[int, ...], n: int, seed: int, data: str = "") -> Tensor:
    """Return n inputs, shape (n, *shape[1:]), chosen by the seed; pictures have zero mean and unit variance.

    Raises UsageError where there are not so many, UnknownName for another kind of inputs.
    """
    if kind == "noise":
        return torch.randn((n, *shape[1:]), generator=torch.Generator().manual_seed(seed))
    if kind not in INPUTS:
        raise UnknownName("kind of inputs", kind, INPUTS)
    pictures = _pictures(kind, n, seed, data)
    # Shrinking without a low-pass filter would show the network single pixels of a large picture.
    shrinks = pictures.shape[2] > shape[2]
    resized = functional.interpolate(pictures, size=shape[2:], mode="bilinear", antialias=shrinks)
    if resized.shape[1] != shape[1]:
        resized = resized.mean(1, keepdim=True).expand(-1, shape[1], -1, -1)
    return ((resized - resized.mean()) / resized.std()).contiguous()


@lru_cache(maxsize=8)
def _pictures(kind: str, n: int, seed: int, data: str) -> Tensor:
    """Return n pictures, shape (n, channels, height, width)."""
    if kind == "images":
        from searchers.image_data import load_images

        found = torch.from_numpy(load_images(Path(data), n, seed).images)
    else:
        from sklearn.datasets import load_digits

        images = torch.from_numpy(load_digits().images).float()
        found = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n], None]
    if len(found) < n:
        raise UsageError(f"{n} inputs are asked for, and there are {len(found)}", "", "Take fewer, or inputs=noise")
    return found


@contextmanager
def watched(module: nn.Module, graph: Graph, add: Callable[[Tensor], None]) -> Iterator[None]:
    """Hand the results of all rectifiers that matter for the output to `add` as the network runs.

    In a module of our own these are the live ReLUs; in another one every activation that is positive or not.
    """
    if not isinstance(module, GraphModule):
        with _Rectifiers(add):
            yield
        return
    live = {call.name for call in graph.live().calls}
    for name, layer in module.layers.items():
        if isinstance(layer, nn.ReLU) and module.prefixes[name].partition(".")[0] in live:
            layer.register_forward_hook(lambda _module, _inputs, output: add(output))
    yield


class _Rectifiers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at the results of activations."""

    def __init__(self, add: Callable[[Tensor], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._add = add

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._opname.rstrip("_") in _RECTIFIERS:
            self._add(result)
        return result


#: What torch's rectifiers end up as: ReLU6 is `hardtanh`, PReLU `_prelu_kernel`, SELU and CELU `elu`.
_RECTIFIERS = ("relu", "hardtanh", "leaky_relu", "_prelu_kernel", "elu", "silu", "hardswish", "gelu", "mish")
