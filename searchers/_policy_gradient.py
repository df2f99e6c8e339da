"""REINFORCE (Williams, 1992) with an exponential baseline: what searchers that learn a policy share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers._base import Searcher
from searchers._optimisers import Adam
from searchers._problem import Evaluation, Problem
from searchers._reward import Reward
from searchers._torch import Policy, one_thread, pack, unpack

_MOMENTS = ("first", "second")


class PolicyGradient(Searcher):
    """Draws `samples` architectures an episode from a policy and takes one Adam step along their rewards.

    The baseline is an exponential mean of the episodes' rewards, as it was before the update; its factor is
    `baseline_decay`.
    """

    def __init__(
        self,
        space: SearchSpace,
        problem: Problem,
        *,
        policy: Policy,
        rng: np.random.Generator,
        reward: Reward,
        learning_rate: float,
        samples: int,
        baseline_decay: float,
        entropy_weight: float,
    ) -> None:
        super().__init__(space, problem)
        if samples < 1:
            raise UsageError(f"samples must be at least 1, not {samples}")
        if not 0 <= baseline_decay < 1:
            raise UsageError(f"baseline_decay must lie in [0, 1), not {baseline_decay}")
        self._policy = policy
        self._rng = rng
        self._reward = reward
        self._samples = samples
        self._decay = baseline_decay
        self._entropy_weight = entropy_weight
        self._optimizer = Adam(policy.parameters(), learning_rate)
        self._baseline: float | None = None
        self._rewards: tuple[float, ...] = ()

    @property
    def batch(self) -> int:
        """Return the samples per episode."""
        return self._samples

    @property
    def last_rewards(self) -> tuple[float | None, ...]:
        """Return the rewards of the last update."""
        return self._rewards

    def suggest(self, n: int) -> list[Architecture]:
        """Return n architectures drawn from the policy."""
        return [self.space.architecture(decisions) for decisions in self._policy.sample(n, self._rng)]

    def update(self, evaluations: Sequence[Evaluation]) -> None:
        """Take one Adam step along sum of (reward - baseline) x grad log-probability, then move the baseline."""
        if not evaluations:
            return
        self._reward.learn(evaluations)
        self._rewards = tuple(self._reward.of(evaluation) for evaluation in evaluations)
        mean = sum(self._rewards) / len(self._rewards)
        baseline = mean if self._baseline is None else self._baseline
        self._step(evaluations, [reward - baseline for reward in self._rewards])
        self._baseline = self._decay * baseline + (1 - self._decay) * mean

    def _step(self, evaluations: Sequence[Evaluation], advantages: Sequence[float]) -> None:
        decisions = torch.tensor([evaluation.architecture.decisions for evaluation in evaluations])
        with one_thread():
            log_probs, entropy = self._policy(decisions)
            loss = -(torch.tensor(advantages, dtype=torch.float32) * log_probs).mean()
            if self._entropy_weight:
                loss = loss - self._entropy_weight * entropy.mean()
            self._optimizer.step(torch.autograd.grad(loss, list(self._policy.parameters())))

    def state(self) -> Any:
        """Return generator, policy, optimiser, baseline and the scores seen, as a JSON value."""
        return {
            "rng": self._rng.bit_generator.state,
            "policy": pack(dict(self._policy.named_parameters())),
            "adam": _packed(self._optimizer.state()),
            "baseline": self._baseline,
            "scores": self._reward.state(),
        }

    def load_state(self, value: Any) -> None:
        """Continue from a value that `state` returned."""
        self._rng.bit_generator.state = value["rng"]
        self._policy.load_state_dict(unpack(value["policy"]))
        self._optimizer.load_state(_unpacked(value["adam"]))
        self._baseline = value["baseline"]
        self._reward.load_state(value["scores"])


def _packed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of an optimiser whose parameters all had the same steps as a JSON value."""
    moments = {name: pack({str(i): item for i, item in enumerate(state[name])}) for name in _MOMENTS}
    return {"steps": state["steps"][0], **moments}


def _unpacked(value: Mapping[str, Any]) -> dict[str, Any]:
    moments = {name: list(unpack(value[name]).values()) for name in _MOMENTS}
    return {"steps": [value["steps"]] * len(moments["first"]), **moments}
