"""SGD and Adam by the gradients that parameters hold: the steps of torch.optim, whose first use takes seconds.

Every search is a process of its own, and would wait for torch's compiler to be loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

_BETA_2, _EPSILON = 0.999, 1e-8


class Sgd:
    """SGD with momentum and weight decay, as torch.optim.SGD has them; parameters without a gradient stay."""

    def __init__(self, parameters: Iterable[Tensor], momentum: float, decay: float) -> None:
        self._parameters, self._momentum, self._decay = list(parameters), momentum, decay
        #: By parameter, once it has had a gradient.
        self.velocities: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the parameters against their gradients."""
        for item in self._parameters:
            if item.grad is None:
                continue
            change = item.grad.add(item, alpha=self._decay)
            if item in self.velocities:
                self.velocities[item].mul_(self._momentum).add_(change)
            else:
                self.velocities[item] = change
            item.add_(self.velocities[item], alpha=-rate)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for item in self._parameters:
            item.grad = None

    def state(self) -> dict[str, Any]:
        """Return what later steps depend on."""
        return {"velocities": [self.velocities.get(item) for item in self._parameters]}

    def load_state(self, value: Mapping[str, Any]) -> None:
        """Continue from a value that `state` returned; raise ValueError for that of other parameters."""
        pairs = zip(self._parameters, value["velocities"], strict=True)
        self.velocities = {item: _like(item, own) for item, own in pairs if own is not None}


class Adam:
    """Adam (Kingma and Ba, ICLR 2015, Algorithm 1) with weight decay in the gradient, as torch.optim.Adam has it."""

    def __init__(self, parameters: Iterable[Tensor], rate: float, beta_1: float, decay: float) -> None:
        self._parameters, self._rate, self._beta_1, self._decay = list(parameters), rate, beta_1, decay
        #: Steps and both moments, by parameter, once it has had a gradient.
        self._moments: dict[Tensor, tuple[int, Tensor, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters against their gradients; those without one stay."""
        for item in self._parameters:
            if item.grad is None:
                continue
            change = item.grad.add(item, alpha=self._decay)
            nothing = torch.zeros_like(item)
            steps, first, second = self._moments.get(item, (0, nothing, nothing.clone()))
            steps += 1
            first.lerp_(change, 1 - self._beta_1)
            second.mul_(_BETA_2).addcmul_(change, change, value=1 - _BETA_2)
            root = (1 - _BETA_2**steps) ** 0.5
            rate = self._rate / (1 - self._beta_1**steps)
            item.addcdiv_(first, second.sqrt().div_(root).add_(_EPSILON), value=-rate)
            self._moments[item] = (steps, first, second)

    def state(self) -> dict[str, Any]:
        """Return what later steps depend on."""
        return {"moments": [self._moments.get(item) for item in self._parameters]}

    def load_state(self, value: Mapping[str, Any]) -> None:
        """Continue from a value that `state` returned; raise ValueError for that of other parameters."""
        pairs = zip(self._parameters, value["moments"], strict=True)
        self._moments = {
            item: (int(own[0]), _like(item, own[1]), _like(item, own[2])) for item, own in pairs if own is not None
        }


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return a copy of a value beside its parameter; raise ValueError for another shape."""
    if value.shape != parameter.shape:
        raise ValueError(f"a moment of shape {tuple(value.shape)} for a parameter of shape {tuple(parameter.shape)}")
    return value.detach().to(parameter.device).clone()
