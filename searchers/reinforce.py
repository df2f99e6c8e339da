"""REINFORCE on independent categoricals: the plain policy gradient of tabular benchmarks.

Source: Dong et al., "NATS-Bench", TPAMI 2021, and its code: logits of N(0, 1e-3), Adam, an exponential baseline of 0.9.
The reward is the same as of `latency_reward_rl`, so that the two differ in the policy alone; what R_LAT is worth shows
in that searcher's `reward=none`.
"""

from __future__ import annotations

import numpy as np

from search_spaces._base import SearchSpace
from searchers._policy_gradient import PolicyGradient
from searchers._problem import Problem
from searchers._reward import Reward
from searchers._torch import Categoricals


class Reinforce(PolicyGradient):
    """Learns one distribution a decision, independent of the others; see `latency_reward_rl` for the options."""

    def __init__(
        self,
        space: SearchSpace,
        problem: Problem,
        *,
        alpha: float = 0.9,
        learning_rate: float = 0.01,
        samples: int = 1,
        baseline_decay: float = 0.9,
        entropy_weight: float = 0.0,
        scale: str = "rank",
        floor: float = 0.85,
        reward: str = "paper",
    ) -> None:
        seeds = np.random.SeedSequence(problem.seed).generate_state(2)
        super().__init__(
            space,
            problem,
            policy=Categoricals(space.cardinalities, int(seeds[1])),
            rng=np.random.default_rng(seeds[0]),
            reward=Reward(problem, reward, alpha=alpha, scale=scale, floor=floor),
            learning_rate=learning_rate,
            samples=samples,
            baseline_decay=baseline_decay,
            entropy_weight=entropy_weight,
        )
