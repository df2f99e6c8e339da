"""One iteration of training a module, run for real or under fake tensors: weights first, then an architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.optim import Optimizer

from hilnas.errors import UnknownName, UsageError
from profiler._training_plan import TrainingPlan

Batch = tuple[Tensor, Tensor]
#: Called with `forward` and `backward` when the one and the other pass of the weights' step has ended.
Observer = Callable[[str], None]

OPTIMISERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": partial(torch.optim.SGD, lr=0.01),
    "momentum": partial(torch.optim.SGD, lr=0.01, momentum=0.9),
    "rmsprop": partial(torch.optim.RMSprop, lr=1e-3),
    "adam": partial(torch.optim.Adam, lr=1e-3),
    "adamw": partial(torch.optim.AdamW, lr=1e-3),
}
#: Step size of the finite difference and rate of the virtual step; neither changes what is stored.
_EPSILON, _VIRTUAL_RATE = 1e-2, 1e-2


class Training:
    """Trains a module with the optimisers of its weights and, for a supernet, of its architecture parameters."""

    def __init__(self, module: nn.Module, plan: TrainingPlan) -> None:
        self.module = module.train()
        architecture_step = plan.architecture_step
        self._architecture_step = architecture_step
        named = list(module.named_parameters())
        self._alphas = [p for name, p in named if architecture_step and architecture_step.owns(name)]
        if architecture_step and not self._alphas:
            raise UsageError(
                f"no parameter of the module is one of the architecture: {', '.join(architecture_step.names)}",
                f"Its parameters are {', '.join(name for name, _ in named[:5]) or 'none'}, ...",
            )
        ours = {id(p) for p in self._alphas}
        self._weights = {name: p for name, p in named if id(p) not in ours and p.requires_grad}
        if not self._weights:
            raise UsageError("the module has no parameters to train")
        self._optimiser = _make(plan.optimiser, self._weights.values(), plan.device)
        self._second = _make(architecture_step.optimiser, self._alphas, plan.device) if architecture_step else None

    @property
    def optimisers(self) -> list[Optimizer]:
        """Return the optimisers of the weights and of the architecture, where there is one."""
        return [self._optimiser, *([self._second] if self._second else [])]

    def prime(self) -> None:
        """Let the optimisers make their states, as their first step does."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.zeros_like(parameter)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def iterate(self, train: Batch, valid: Batch | None = None, observe: Observer = lambda _: None) -> None:
        """Learn the weights from one batch, then the architecture from another (where it is learnt)."""
        loss = _loss(self.module(train[0]), train[1])
        observe("forward")
        loss.backward()  # type: ignore[no-untyped-call]
        observe("backward")
        self._optimiser.step()
        self._clear()
        del loss
        if self._second is None or self._architecture_step is None or valid is None:
            return
        gradients = self._direct(valid) if self._architecture_step.order == 1 else self._unrolled(train, valid)
        for alpha, gradient in zip(self._alphas, gradients, strict=True):
            alpha.grad = gradient
        self._second.step()
        self._clear()

    def _direct(self, valid: Batch) -> Sequence[Tensor | None]:
        """Return the gradient of the architecture at the weights as they are."""
        return _gradients(_loss(self.module(valid[0]), valid[1]), self._alphas)

    def _unrolled(self, train: Batch, valid: Batch) -> Sequence[Tensor | None]:
        """Return the gradient of the architecture one virtual step ahead (Liu et al. 2019, DARTS, Eq. 6 to 8)."""
        step = _gradients(_loss(self.module(train[0]), train[1]), list(self._weights.values()))
        ahead = {
            name: (w if g is None else w - _VIRTUAL_RATE * g).detach().requires_grad_()
            for (name, w), g in zip(self._weights.items(), step, strict=True)
        }
        del step
        loss = _loss(functional_call(self.module, ahead, valid[0]), valid[1])
        found = _gradients(loss, [*self._alphas, *ahead.values()])
        direct, along = found[: len(self._alphas)], found[len(self._alphas) :]
        del ahead, found, loss
        forth = self._difference(train, along, _EPSILON)
        back = self._difference(train, along, -2 * _EPSILON)
        self._move(along, _EPSILON)
        scale = _VIRTUAL_RATE / (2 * _EPSILON)
        return [
            d if d is None or f is None or b is None else d - scale * (f - b)
            for d, f, b in zip(direct, forth, back, strict=True)
        ]

    def _difference(self, train: Batch, along: Sequence[Tensor | None], by: float) -> Sequence[Tensor | None]:
        self._move(along, by)
        return _gradients(_loss(self.module(train[0]), train[1]), self._alphas)

    def _move(self, along: Sequence[Tensor | None], by: float) -> None:
        with torch.no_grad():
            for weight, direction in zip(self._weights.values(), along, strict=True):
                if direction is not None:
                    weight.add_(direction, alpha=by)

    def _clear(self) -> None:
        self.module.zero_grad(set_to_none=True)


def make_batch(plan: TrainingPlan) -> Batch:
    """Return inputs (batch, *input_shape) of ones and labels (batch,) on the device of the context.

    What is computed does not matter here.
    Zeros would not do: the system backs a page of them with memory only when something else is written there.
    """
    return (
        torch.ones((plan.batch, *plan.input_shape), dtype=getattr(torch, plan.dtype)),
        torch.zeros(plan.batch, dtype=torch.int64),
    )


def _loss(output: Any, labels: Tensor) -> Tensor:
    """Return the cross entropy of (batch, classes), or the sum of the means of whatever else comes out."""
    if isinstance(output, Tensor) and output.ndim == 2:
        return functional.cross_entropy(output, labels)
    return torch.stack([item.float().mean() for item in _tensors(output)]).sum()


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    items = output.values() if isinstance(output, dict) else output if isinstance(output, list | tuple) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    return torch.autograd.grad(loss, parameters, allow_unused=True)


def _make(
    optimiser: str | Callable[[Iterable[Tensor]], Optimizer], parameters: Iterable[Tensor], device: str
) -> Optimizer:
    """Return the optimiser; on a GPU it takes all parameters at once, as it does by itself for tensors that are real.

    Raises UnknownName.
    """
    if callable(optimiser):
        return optimiser(parameters)
    if optimiser not in OPTIMISERS:
        raise UnknownName("optimiser", optimiser, OPTIMISERS)
    return OPTIMISERS[optimiser](parameters, foreach=device.startswith("cuda"))
