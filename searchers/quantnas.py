"""QuantNAS: an LSTM controller and REINFORCE on batches of rollouts; the exploration of RADARS.

Source: RADARS (Yan et al., 2022), Eq. 2, and the code of its authors, which has QuantNAS' controller: SGD at 0.2 on the
sum over a batch of five rollouts of (reward - baseline) x log-probability; the baseline is the mean of the first twenty
rewards, then an exponential mean of factor 0.1, as it was before the update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers._base import Searcher
from searchers._lstm import LstmPolicy
from searchers._problem import Evaluation, Problem
from searchers._reward import RankScale, weighted_reward
from searchers._torch import one_thread, pack, unpack

_FIRST, _FACTOR = 20, 0.1


class QuantNas(Searcher):
    """Learns from R = alpha x score + (1 - alpha) x (1 - (cost - beta) / gamma) (RADARS, Eq. 2).

    The cost is that of the first limit; beta (-1: the limit) and gamma (0: the limit) are in its unit (SI). Without a
    limit the reward is the score. scale: `rank` among those seen, or `percent` for accuracies. A failure earns as
    little as the least so far, at most 0.
    """

    def __init__(
        self,
        space: SearchSpace,
        problem: Problem,
        *,
        samples: int = 5,
        learning_rate: float = 0.2,
        alpha: float = 0.5,
        beta: float = -1.0,
        gamma: float = 0.0,
        scale: str = "rank",
    ) -> None:
        super().__init__(space, problem)
        if samples < 1 or learning_rate <= 0 or not 0 <= alpha <= 1 or gamma < 0 or scale not in ("rank", "percent"):
            raise UsageError(
                "quantnas needs samples and a learning rate above 0, alpha from 0 to 1, gamma not below 0, and "
                "scale=rank or scale=percent"
            )
        seeds = np.random.SeedSequence(problem.seed).generate_state(2)
        self._rng = np.random.default_rng(seeds[0])
        self._policy = LstmPolicy(space.cardinalities, int(seeds[1]))
        self._policy.restart(self._rng)
        self._samples, self._rate = samples, learning_rate
        self._alpha, self._beta, self._gamma, self._scale = alpha, beta, gamma, scale
        self._seen: dict[tuple[int, ...], float] = {}
        self._early: list[float] = []
        self._baseline = 0.0
        self._least = 0.0
        self._rewards: tuple[float, ...] = ()

    @property
    def batch(self) -> int:
        """Return the rollouts of an update."""
        return self._samples

    @property
    def last_rewards(self) -> tuple[float | None, ...]:
        """Return the rewards of the last update."""
        return self._rewards

    def suggest(self, n: int) -> list[Architecture]:
        """Return n architectures drawn from the policy."""
        with one_thread():
            return [self.space.architecture(decisions) for decisions in self._policy.sample(n, self._rng)]

    def update(self, evaluations: Sequence[Evaluation]) -> None:
        """Take one step of SGD along the rewards, move the baseline, and draw the controller's start anew."""
        if not evaluations:
            return
        for item in evaluations:
            if item.score is not None:
                self._seen.setdefault(item.architecture.decisions, item.score)
        ranks = RankScale(self._seen.values())
        rewards = [self._reward(item, ranks) for item in evaluations]
        self._least = min([self._least, *(reward for reward in rewards if reward is not None)])
        self._rewards = tuple(self._least if reward is None else reward for reward in rewards)
        self._learn([item.architecture.decisions for item in evaluations], self._advantages())
        self._policy.restart(self._rng)

    def _reward(self, evaluation: Evaluation, ranks: RankScale) -> float | None:
        """Return the reward of an evaluation, None for one that failed."""
        if evaluation.score is None or evaluation.cause is not None:
            return None
        score = evaluation.score / 100 if self._scale == "percent" else ranks.scaled(evaluation.score)
        if not self.problem.constraints:
            return score
        limit = self.problem.constraints[0]
        cost = evaluation.costs.get(limit.metric)
        if cost is None:
            return None
        beta = limit.limit if self._beta < 0 else self._beta
        return weighted_reward(score, cost, self._alpha, beta, self._gamma or limit.limit)

    def _advantages(self) -> list[float]:
        """Return each reward less the baseline before it, and move the baseline."""
        found = []
        for reward in self._rewards:
            if len(self._early) < _FIRST:
                self._early.append(reward)
                self._baseline = sum(self._early) / len(self._early)
                found.append(reward - self._baseline)
                continue
            found.append(reward - self._baseline)
            self._baseline += _FACTOR * (reward - self._baseline)
        return found

    def _learn(self, decisions: Sequence[tuple[int, ...]], advantages: Sequence[float]) -> None:
        with one_thread():
            log_probs, _ = self._policy(torch.tensor(decisions))
            loss = -(torch.tensor(advantages, dtype=torch.float32) * log_probs).sum()
            parameters = list(self._policy.parameters())
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(gradient, alpha=self._rate)

    def state(self) -> Any:
        """Return generator, controller, baseline and the scores seen, as a JSON value."""
        return {
            "rng": self._rng.bit_generator.state,
            "policy": pack({**dict(self._policy.named_parameters()), "hidden": self._policy.hidden}),
            "first": self._policy.first,
            "baseline": self._baseline,
            "least": self._least,
            "early": self._early,
            "seen": [[list(decisions), score] for decisions, score in self._seen.items()],
        }

    def load_state(self, value: Any) -> None:
        """Continue from a value that `state` returned."""
        self._rng.bit_generator.state = value["rng"]
        tensors = unpack(value["policy"])
        self._policy.hidden, self._policy.first = tensors.pop("hidden"), int(value["first"])
        self._policy.load_state_dict(tensors)
        self._baseline, self._early, self._least = value["baseline"], list(value["early"]), value["least"]
        self._seen = {tuple(decisions): score for decisions, score in value["seen"]}
