"""What the indicators that run a network share: input batches and untrained modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from hilnas.errors import UnknownName
from search_spaces._graph import Graph
from search_spaces._torch import GraphModule, to_module
from searchers._torch import one_thread
from searchers.evaluators.zero_cost._base import Build, Indicator

#: Kinds of inputs: N(0, 1) noise, or scikit-learn's 8x8 digits resized to the network's input.
INPUTS = ("noise", "digits")


class BatchIndicator(Indicator):
    """An indicator that runs a shallow untrained network on one batch of inputs."""

    proxy: ClassVar[Mapping[str, Any]] = {"depth": 1}

    def __init__(self, *, batch: int = 32, inputs: str = "digits", seed: int = 0) -> None:
        self._batch = batch
        self._inputs = inputs
        self._seed = seed

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return batch size, kind of inputs and seed."""
        return {"batch": self._batch, "inputs": self._inputs, "seed": self._seed}


@lru_cache(maxsize=4)
def input_batch(kind: str, shape: tuple[int, ...], n: int, seed: int) -> Tensor:
    """Return n inputs, shape (n, *shape[1:]), chosen by the seed; digits have zero mean and unit variance.

    Raises UnknownName for another kind of inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    if kind == "noise":
        return torch.randn((n, *shape[1:]), generator=generator)
    if kind != "digits":
        raise UnknownName("kind of inputs", kind, INPUTS)
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().images).float()
    chosen = images[torch.randperm(len(images), generator=generator)[:n]]
    resized = functional.interpolate(chosen[:, None], size=shape[2:], mode="bilinear", align_corners=False)
    return ((resized - resized.mean()) / resized.std()).expand(-1, shape[1], -1, -1).contiguous()


def untrained(graph: Graph, seed: int, build: Build | None = None) -> nn.Module:
    """Return the network in training mode with seeded weights, what cannot reach its output left out where we can."""
    return to_module(graph.without_dead(), seed=seed) if build is None else build(seed)


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Compute in one thread, with the random numbers of a seed: a module of the user's may draw some (dropout)."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


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
