"""SGD and Adam: the steps of torch.optim, bit for bit, whose first use takes seconds.

It loads torch's compiler, and looks up the user's name through a socket where the environment does not tell it; every
search is a process of its own and would wait for it. Steps take the gradients of the parameters in their order, None
for what a loss does not depend on, which stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_BETA_2, _EPSILON = 0.999, 1e-8

Gradients = Sequence[Tensor | None]


class Sgd:
    """SGD with momentum, of Nesterov's kind or not, and weight decay."""

    def __init__(
        self, parameters: Iterable[Tensor], momentum: float, decay: float = 0.0, nesterov: bool = False
    ) -> None:
        self._parameters = list(parameters)
        self._momentum, self._decay, self._nesterov = momentum, decay, nesterov
        #: Of the parameters that have had a gradient: most of a supernet may never have one.
        self.velocities: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self, gradients: Gradients, rate: float) -> None:
        """Move the parameters against gradients."""
        for item, gradient in zip(self._parameters, gradients, strict=True):
            if gradient is None:
                continue
            change = gradient.add(item, alpha=self._decay)
            if item in self.velocities:
                velocity = self.velocities[item].mul_(self._momentum).add_(change)
            else:
                velocity = self.velocities[item] = change.clone()
            item.add_(change.add_(velocity, alpha=self._momentum) if self._nesterov else velocity, alpha=-rate)

    def state(self) -> dict[str, Any]:
        """Return what later steps depend on, as tensors."""
        return {"velocities": [self.velocities.get(item) for item in self._parameters]}

    def load_state(self, value: Mapping[str, Any]) -> None:
        """Continue from a value that `state` returned; raise ValueError for that of other parameters."""
        pairs = zip(self._parameters, value["velocities"], strict=True)
        self.velocities = {item: _beside(item, own) for item, own in pairs if own is not None}


class Adam:
    """Adam (Kingma and Ba, ICLR 2015, Algorithm 1), weight decay in the gradient; each parameter counts its steps."""

    def __init__(self, parameters: Iterable[Tensor], rate: float, beta_1: float = 0.9, decay: float = 0.0) -> None:
        self._parameters = list(parameters)
        self._rate, self._beta_1, self._decay = rate, beta_1, decay
        self._steps = [0] * len(self._parameters)
        self._first, self._second = ([torch.zeros_like(item) for item in self._parameters] for _ in range(2))

    @torch.no_grad()
    def step(self, gradients: Gradients) -> None:
        """Move the parameters against gradients."""
        moments = zip(self._parameters, gradients, self._first, self._second, strict=True)
        for number, (item, gradient, first, second) in enumerate(moments):
            if gradient is None:
                continue
            self._steps[number] += 1
            change = gradient.add(item, alpha=self._decay) if self._decay else gradient
            first.lerp_(change, 1 - self._beta_1)
            second.mul_(_BETA_2).addcmul_(change, change, value=1 - _BETA_2)
            rate = self._rate / (1 - self._beta_1 ** self._steps[number])
            root = (1 - _BETA_2 ** self._steps[number]) ** 0.5
            item.addcdiv_(first, second.sqrt().div_(root).add_(_EPSILON), value=-rate)

    def state(self) -> dict[str, Any]:
        """Return what later steps depend on: counts and tensors."""
        return {"steps": list(self._steps), "first": list(self._first), "second": list(self._second)}

    def load_state(self, value: Mapping[str, Any]) -> None:
        """Continue from a value that `state` returned; raise ValueError for that of other parameters."""
        moments = list(zip(self._parameters, value["steps"], value["first"], value["second"], strict=True))
        self._steps = [int(steps) for _, steps, _, _ in moments]
        self._first = [_beside(item, first) for item, _, first, _ in moments]
        self._second = [_beside(item, second) for item, _, _, second in moments]


def _beside(parameter: Tensor, value: Tensor) -> Tensor:
    """Return a copy of a value where its parameter is; raise ValueError for another shape."""
    if value.shape != parameter.shape:
        raise ValueError(f"a moment of shape {tuple(value.shape)} for a parameter of shape {tuple(parameter.shape)}")
    return value.detach().to(parameter.device).clone()
