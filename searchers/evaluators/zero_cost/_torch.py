"""What the indicators that run a network share: input batches and untrained modules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hilnas.errors import UnknownName
from search_spaces._graph import Graph
from search_spaces._torch import GraphModule, to_module
from searchers.evaluators.zero_cost._base import Indicator

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


def untrained(graph: Graph, seed: int) -> GraphModule:
    """Return the network in training mode with seeded weights, without what cannot reach its output."""
    return to_module(graph.without_dead(), seed=seed)
