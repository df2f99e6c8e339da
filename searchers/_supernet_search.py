"""Differentiable search on a supernet: weights learn on one part of the data, shares of choices on the other.

Sources: DARTS (Liu et al., ICLR 2019): each step takes one step of Adam in the logits of the shares on a validation
batch, then one of SGD in the weights on a training batch. Of second order, the loss of the shares is that after the
step in the weights which would follow. PC-DARTS (Xu et al., ICLR 2020): partial channels
and shares of edges. DCA-NAS: operations shared by the edges that read one tensor, cells in a bottleneck, and only the
first cell of each kind mixed: the others run as the network that the shares derive at that moment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hilnas.records import Architecture
from search_spaces._supergraph import Supergraph, Supernet, SupernetSpace
from search_spaces._supernet_torch import Chosen, SupernetModule
from searchers._optimisers import Adam, Sgd

Batch = tuple[Tensor, Tensor]
#: The part of the loss that follows from the shares alone, of one distribution a row.
Penalty = Callable[[list[Tensor]], Tensor]

_LOGIT_SCALE = 1e-3
_MOMENTUM = 0.9
_SHARE_BETA = 0.5
#: Length of the step in the weights of a central difference, as the authors have it.
_DIFFERENCE = 1e-2
_ZERO = torch.zeros(())


@dataclass(frozen=True, slots=True)
class Method:
    """What a differentiable search does with its supernet; the rates are those of its authors.

    derived: only the first cell of each kind is mixed. order: of the gradient of the shares. share_rate, share_decay:
    Adam in the logits. weight_decay, clip: of SGD in the weights, whose rate is handed to each step.
    """

    style: Supernet
    derived: bool = False
    order: Literal[1, 2] = 1
    share_rate: float = 3e-4
    share_decay: float = 1e-3
    weight_decay: float = 3e-4
    clip: float = 5.0


DARTS = Method(Supernet())
PC_DARTS = Method(Supernet(partial=4), share_rate=6e-4)
DCA_NAS = Method(Supernet(shared=True, bottleneck=4), derived=True, share_rate=6e-4)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What a supernet computes with: where, in mixed precision of bfloat16 or not, channels last or not."""

    device: str = "cpu"
    mixed_precision: bool = False
    channels_last: bool = False


@dataclass(frozen=True, slots=True)
class Losses:
    """Cross-entropy (nats) of a validation and of a training batch in one step."""

    validation: float
    training: float


class DifferentiableSearch(ABC):
    """One search: a supernet, the logits of its shares, and their optimisers.

    Everything random comes from the seed. The module is on a device, where batches have to be as well.
    """

    def __init__(self, graph: Supergraph, method: Method, seed: int, arithmetic: Arithmetic) -> None:
        self.graph, self._method, self._arithmetic = graph, method, arithmetic
        self.device = device = torch.device(arithmetic.device)
        self.module = SupernetModule(self.graph, seed, method.style.shared).to(device).to(memory_format=self._layout)  # type: ignore[call-overload]
        generator = torch.Generator().manual_seed(seed)
        self._logits = [
            (_LOGIT_SCALE * torch.randn(n, generator=generator)).to(device).requires_grad_() for n in self.graph.rows
        ]
        self._weights_by = Sgd(self.module.parameters(), _MOMENTUM, method.weight_decay)
        self._shares_by = Adam(self._logits, method.share_rate, _SHARE_BETA, method.share_decay)

    @property
    def shares(self) -> list[NDArray[np.float64]]:
        """Return one distribution a row of the supernet."""
        return [item.detach().cpu().double().numpy() for item in self._shares()]

    @abstractmethod
    def derive(self) -> Architecture:
        """Return the architecture of the strongest shares."""

    @abstractmethod
    def parse(self, text: str) -> Architecture:
        """Return the architecture of a text."""

    def skips(self, architecture: Architecture) -> int:
        """Return how many operations of what is derived are skips; 0 in spaces without."""
        return 0

    def step(self, training: Batch, validation: Batch, rate: float, penalty: Penalty | None = None) -> Losses:
        """Take a step in the shares, then one in the weights at a learning rate, and return the losses before them.

        Batches are pictures (n, 3, side, side) and labels (n,). `penalty` is added to the loss of the shares.
        """
        of_shares = self.step_in_shares(validation, training, rate, penalty)
        return Losses(of_shares, self.step_in_weights(training, rate))

    def step_in_shares(self, batch: Batch, training: Batch, rate: float, penalty: Penalty | None = None) -> float:
        """Take one step of Adam in the logits and return the cross-entropy before it.

        Of second order, `training` and `rate` are what the next step in the weights will be taken with.
        """
        if self._method.order == 2:
            loss, gradients = self._unrolled(batch, training, rate, penalty)
        else:
            shares = self._mixed()
            loss = self._loss(batch, shares)
            total = self._weighted(loss, shares)
            total = total if penalty is None else total + penalty(shares)
            gradients = torch.autograd.grad(total, self._logits, allow_unused=True)
        self._shares_by.step(gradients)
        return float(loss.detach())

    def _unrolled(
        self, batch: Batch, training: Batch, rate: float, penalty: Penalty | None
    ) -> tuple[Tensor, Sequence[Tensor | None]]:
        """Return loss and gradients after a step in the weights (DARTS, Eq. 7 and 8, by central differences)."""
        weights = list(self.module.parameters())
        before = [item.detach().clone() for item in weights]
        try:
            self._move(weights, self._directions(training, weights), -rate)
            shares = self._shares()
            loss = self._loss(batch, shares)
            total = loss if penalty is None else loss + penalty(shares)
            found = torch.autograd.grad(total, [*self._logits, *weights], allow_unused=True)
            own, ahead = found[: len(self._logits)], found[len(self._logits) :]
            size = _DIFFERENCE / torch.sqrt(sum((item.square().sum() for item in ahead if item is not None), _ZERO))
            _restore(weights, before)
            self._move(weights, ahead, float(size))
            above = torch.autograd.grad(self._loss(training, self._shares()), self._logits, allow_unused=True)
            self._move(weights, ahead, -2 * float(size))
            below = torch.autograd.grad(self._loss(training, self._shares()), self._logits, allow_unused=True)
        finally:
            _restore(weights, before)
        return loss, [
            None if one is None or two is None or first is None else first - rate * (one - two) / (2 * size)
            for first, one, two in zip(own, above, below, strict=True)
        ]

    def _directions(self, training: Batch, weights: Sequence[Tensor]) -> list[Tensor | None]:
        """Return what the next step of SGD would subtract, in units of its rate."""
        loss = self._loss(training, [item.detach() for item in self._shares()])
        found: list[Tensor | None] = []
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
            if gradient is None:
                found.append(None)
                continue
            velocity = self._weights_by.velocities.get(weight)
            step = gradient + self._method.weight_decay * weight.detach()
            found.append(step if velocity is None else step + _MOMENTUM * velocity)
        return found

    @staticmethod
    @torch.no_grad()
    def _move(weights: Sequence[Tensor], directions: Sequence[Tensor | None], factor: float) -> None:
        for weight, direction in zip(weights, directions, strict=True):
            if direction is not None:
                weight.add_(direction, alpha=factor)

    def step_in_weights(self, batch: Batch, rate: float) -> float:
        """Take one step of SGD in the weights at a learning rate and return the cross-entropy before it."""
        self.module.zero_grad(set_to_none=True)
        loss = self._loss(batch, [item.detach() for item in self._mixed()])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self._method.clip)
        self._weights_by.step([item.grad for item in self.module.parameters()], rate)
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """Return everything that later steps depend on, as torch saves it."""
        return {
            "module": self.module.state_dict(),
            "logits": [item.detach() for item in self._logits],
            "weights_by": self._weights_by.state(),
            "shares_by": self._shares_by.state(),
        }

    def load_state(self, value: Mapping[str, Any]) -> None:
        """Continue from a value that `state` returned; raise RuntimeError or ValueError for that of another search."""
        self.module.load_state_dict(value["module"])
        with torch.no_grad():
            for own, other in zip(self._logits, value["logits"], strict=True):
                own.copy_(other)
        self._weights_by.load_state(value["weights_by"])
        self._shares_by.load_state(value["shares_by"])

    def _shares(self) -> list[Tensor]:
        return [torch.softmax(item, 0) for item in self._logits]

    def _mixed(self) -> list[Tensor]:
        """Return the shares that a pass computes with."""
        return self._shares()

    def _loss(self, batch: Batch, shares: list[Tensor]) -> Tensor:
        images, labels = batch
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._arithmetic.mixed_precision):
            outputs = self.module(images.contiguous(memory_format=self._layout), shares, self._chosen())
        return functional.cross_entropy(outputs.float(), labels)

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self._arithmetic.channels_last else torch.contiguous_format

    def _weighted(self, loss: Tensor, shares: list[Tensor]) -> Tensor:
        """Return the loss of the shares, of which the cross-entropy is a part."""
        return loss

    def _chosen(self) -> Chosen:
        """Return what alone is left in some cells of the supernet."""
        return {}


class SupernetSearch(DifferentiableSearch):
    """A search in a space of cells."""

    def __init__(
        self, space: SupernetSpace, method: Method, seed: int = 0, arithmetic: Arithmetic = Arithmetic()
    ) -> None:
        super().__init__(space.supergraph(method.style), method, seed, arithmetic)
        self.space = space
        first = {kind: self.graph.kinds.index(kind) for kind in self.graph.kinds}
        mixed = set(first.values()) if method.derived else set(range(len(self.graph.kinds)))
        self._derived = [cell for cell in range(len(self.graph.kinds)) if cell not in mixed]

    def derive(self) -> Architecture:
        """Return the architecture of the strongest shares."""
        return self.space.derive(self.shares)

    def parse(self, text: str) -> Architecture:
        """Return the architecture of a text."""
        return self.space.parse(text)

    def skips(self, architecture: Architecture) -> int:
        """Return how many operations of the cells are skips."""
        return self.space.skips(architecture)

    def _chosen(self) -> Chosen:
        """Return what is left in the cells that run as derived ones."""
        if not self._derived:
            return {}
        return dict.fromkeys(self._derived, self.space.chosen(self.derive()))


@torch.no_grad()
def _restore(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)
