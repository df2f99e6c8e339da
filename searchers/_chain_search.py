"""Differentiable search in a sub-space of layers in a row: one distribution a layer, over its candidates.

Sources: DNAS as RADARS' authors run it (a softmax mixture, the cost inside the loss of the shares); FBNet (Wu et al.,
CVPR 2019) for Gumbel noise; ProxylessNAS (Cai et al., ICLR 2019) for one path at a time, here with the gradient of
REINFORCE.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._chain import ChainSpace
from search_spaces._chain_cost import ChainCost
from search_spaces._sub_space import SubSpace
from search_spaces._supergraph import Supernet
from search_spaces._supernet_torch import Chosen
from searchers._expected_cost import RelaxedCost
from searchers._reward import weighted_reward
from searchers._supernet_search import Arithmetic, Batch, DifferentiableSearch, Method, Penalty

#: softmax and gumbel mix all candidates; path runs one candidate a layer.
Relax = Literal["softmax", "gumbel", "path"]
RELAXATIONS: tuple[Relax, ...] = ("softmax", "gumbel", "path")
#: Of FBNet: the first temperature, and what it is multiplied by in an epoch.
_TEMPERATURE, _COOLING = 5.0, 0.956
_BASELINE_DECAY = 0.9
_CPU = Arithmetic()


@dataclass(frozen=True, eq=False)
class ChainExpectation(RelaxedCost):
    """The exact expectation of a cost of layers in a row."""

    cost: ChainCost

    def of(self, shares: Sequence[Tensor]) -> Tensor:
        """Return the expectation under one distribution a layer."""
        rows = [row.double().cpu() for row in shares]
        total = torch.tensor(self.cost.fixed, dtype=torch.float64)
        for row, own in zip(rows, self.cost.rows, strict=True):
            total = total + row @ torch.from_numpy(own)
        for before, after, pair in zip(rows[:-1], rows[1:], self.cost.pairs, strict=True):
            if pair is not None:
                total = total + before @ torch.from_numpy(pair) @ after
        return total


@dataclass(frozen=True)
class CostTerm:
    """How a cost enters the loss of the shares.

    product: cross-entropy x (0.1 ln(1e9 E / gamma)) ** exponent, as the authors of RADARS have it for AOPS and a gamma
    of 1e9. sum: alpha x cross-entropy + (1 - alpha) x (E - beta) / gamma, the relaxation of the reward (Eq. 2), where
    costs below beta count as beta.
    """

    cost: RelaxedCost
    gamma: float
    kind: Literal["product", "sum"] = "sum"
    alpha: float = 0.5
    beta: float = 0.0
    exponent: float = 1.0

    def of(self, loss: Tensor, shares: Sequence[Tensor]) -> Tensor:
        """Return the loss of the shares."""
        expected = self.cost.of(shares).to(loss.device)
        if self.kind == "product":
            return loss * (0.1 * torch.log((1e9 * expected / self.gamma).clamp(min=math.e))) ** self.exponent
        return self.alpha * loss + (1 - self.alpha) * (expected - self.beta).clamp(min=0.0) / self.gamma

    def reward(self, accuracy: float, shares: Sequence[Tensor]) -> float:
        """Return the reward (Eq. 2) of what recognises a share of the pictures."""
        return weighted_reward(accuracy, float(self.cost.of(shares)), self.alpha, self.beta, self.gamma)


class ChainSearch(DifferentiableSearch):
    """A search in a sub-space; `steps` are those of an epoch, by which the temperature of Gumbel noise falls.

    `common`: the candidates of a layer have weights in common, and learn from one another's steps.
    """

    def __init__(
        self,
        space: ChainSpace,
        sub: SubSpace,
        term: CostTerm | None,
        *,
        relax: Relax = "softmax",
        share_rate: float = 0.1,
        steps: int = 1,
        seed: int = 0,
        common: bool = False,
        arithmetic: Arithmetic = _CPU,
    ) -> None:
        if relax not in RELAXATIONS:
            raise UsageError(f"shares are not relaxed by {relax!r}", f"Known: {', '.join(RELAXATIONS)}.")
        method = Method(Supernet(), share_rate=share_rate, share_decay=0.0)
        super().__init__(space.chain_supergraph(sub, common), method, seed, arithmetic)
        self._space, self._sub, self._term, self._relax = space, sub, term, relax
        self._cooling = _COOLING ** (1 / steps)
        self._drawn = torch.Generator().manual_seed(seed)
        self._steps_in_shares = 0
        self._baseline: float | None = None
        self._path: Chosen = {}

    def derive(self) -> Architecture:
        """Return the network of the strongest candidates."""
        return self._space.derive(self._sub, self.shares)

    def improved(self, judged: Batch, at_once: int, sweeps: int) -> Architecture:
        """Return the derived network after single changes: layer by layer the candidate of the highest reward.

        A network is judged with the supernet's weights as they are, on pictures that are normalised `at_once` at a
        time. It ends where a sweep over all layers changes nothing.
        """
        places = self._places(self.derive())
        known: dict[tuple[int, ...], float] = {}

        def reward(layer: int, choice: int) -> float:
            changed = (*places[:layer], choice, *places[layer + 1 :])
            if changed not in known:
                known[changed] = self._reward(changed, judged, at_once)
            return known[changed]

        for _ in range(sweeps):
            before = places
            for layer, candidates in enumerate(self._sub.layers):
                rewards = [reward(layer, choice) for choice in range(len(candidates))]
                if max(rewards) > rewards[places[layer]]:
                    places = (*places[:layer], int(np.argmax(rewards)), *places[layer + 1 :])
            if places == before:
                break
        return self._space.of_layers(own[i] for own, i in zip(self._sub.layers, places, strict=True))

    def _places(self, architecture: Architecture) -> tuple[int, ...]:
        """Return the number of a network's candidate in each layer."""
        chosen = self._space.chosen(self._sub, architecture)
        return tuple(choice for layer in sorted(chosen) for _, choice in chosen[layer])

    @torch.no_grad()
    def _reward(self, places: tuple[int, ...], judged: Batch, at_once: int) -> float:
        images, labels = judged
        chosen = {layer: frozenset({(layer, choice)}) for layer, choice in enumerate(places)}
        parts = zip(torch.split(images, at_once), torch.split(labels, at_once), strict=True)
        right = sum(int((self.module(part, (), chosen).argmax(1) == own).sum()) for part, own in parts)
        accuracy = right / len(labels)
        if self._term is None:
            return accuracy
        return self._term.reward(accuracy, [torch.eye(n)[i] for n, i in zip(self.graph.rows, places, strict=True)])

    def parse(self, text: str) -> Architecture:
        """Return the architecture of a text."""
        return self._space.parse(text)

    def step_in_shares(self, batch: Batch, training: Batch, rate: float, penalty: Penalty | None = None) -> float:
        """Take one step of Adam in the logits and return the cross-entropy before it."""
        self._steps_in_shares += 1
        if self._relax != "path":
            return super().step_in_shares(batch, training, rate, penalty)
        return self._step_along_a_path(batch, penalty)

    def step_in_weights(self, batch: Batch, rate: float) -> float:
        """Take one step of SGD in the weights: of all candidates, or of one path that is drawn evenly."""
        self._path = self._draw([np.full(n, 1 / n) for n in self.graph.rows]) if self._relax == "path" else {}
        try:
            return super().step_in_weights(batch, rate)
        finally:
            self._path = {}

    def state(self) -> dict[str, Any]:
        """Return everything that later steps depend on, as torch saves it."""
        own = {"drawn": self._drawn.get_state(), "steps": self._steps_in_shares, "baseline": self._baseline}
        return {**super().state(), **own}

    def load_state(self, value: Mapping[str, Any]) -> None:
        """Continue from a value that `state` returned; raise RuntimeError or ValueError for that of another search."""
        super().load_state(value)
        self._drawn.set_state(value["drawn"])
        self._steps_in_shares, self._baseline = int(value["steps"]), value["baseline"]

    def _chosen(self) -> Chosen:
        return self._path

    def _weighted(self, loss: Tensor, shares: list[Tensor]) -> Tensor:
        # The cost is that of the distributions themselves, not of one draw of noise.
        return loss if self._term is None else self._term.of(loss, [torch.softmax(item, 0) for item in self._logits])

    def _mixed(self) -> list[Tensor]:
        """Return the shares that a pass computes with: with Gumbel noise, where that was asked for."""
        if self._relax != "gumbel":
            return super()._mixed()
        temperature = _TEMPERATURE * self._cooling**self._steps_in_shares
        return [torch.softmax((item + self._noise(item)) / temperature, 0) for item in self._logits]

    def _noise(self, like: Tensor) -> Tensor:
        uniform = torch.rand(like.shape, generator=self._drawn).clamp(1e-10, 1 - 1e-7)
        return -torch.log(-torch.log(uniform)).to(like.device)

    def _step_along_a_path(self, batch: Batch, penalty: Penalty | None) -> float:
        """Learn from one path alone: (loss - baseline) x gradient of its log-probability, as REINFORCE does.

        What follows from the shares themselves has its own gradient beside.
        """
        self._path = self._draw(self.shares)
        with torch.no_grad():
            loss = self._loss(batch, [item.detach() for item in self._shares()])
        chosen = {share for kept in self._path.values() for share in kept}
        self._path = {}
        value = float(self._weighted(loss, self._shares()).detach())
        baseline = value if self._baseline is None else self._baseline
        self._baseline = _BASELINE_DECAY * baseline + (1 - _BASELINE_DECAY) * value
        log_probability = sum(
            (functional.log_softmax(self._logits[row], 0)[choice] for row, choice in sorted(chosen)), torch.zeros(())
        )
        surrogate = (value - baseline) * log_probability
        surrogate = surrogate + self._weighted(loss, self._shares())
        surrogate = surrogate if penalty is None else surrogate + penalty(self._shares())
        gradients = torch.autograd.grad(surrogate, self._logits, allow_unused=True)
        self._shares_by.step(gradients)
        return float(loss)

    def _draw(self, shares: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> Chosen:
        found = {}
        for row, own in enumerate(shares):
            drawn = float(torch.rand((), generator=self._drawn))
            choice = min(int(np.searchsorted(np.cumsum(own), drawn * own.sum())), len(own) - 1)
            found[row] = frozenset({(row, choice)})
        return found
