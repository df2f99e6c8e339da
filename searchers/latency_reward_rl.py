"""REINFORCE on an RNN controller with the latency reward of training-free hardware-aware search.

Source: Tran and Bae, JBE 26(7), 2021. The defaults are the paper's where it states them: alpha 0.9, one RNN layer of
100 units, Adam at 5e-4, selection by the highest score among the architectures that keep the limit. It does not state
samples per episode (here 1), the baseline (exponential mean with factor 0.9), an entropy bonus (none) or how the score
is scaled (here the rank among the architectures seen, mapped to [floor, 1]).
"""

from __future__ import annotations

import numpy as np

from search_spaces._base import SearchSpace
from searchers._policy_gradient import PolicyGradient
from searchers._problem import Problem
from searchers._reward import Reward
from searchers._torch import Controller


class LatencyRewardRL(PolicyGradient):
    """Learns where high scores lie just below the limits: reward = scaled score x product of R_LAT.

    samples: architectures per episode (one Adam step). floor: the scaled score of the worst; the best scores 1, so what
    exceeds a limit by more than 1 / floor is never worth it for its score. reward: `paper`, `strict` (infeasible ones
    below all feasible ones) or `none` (without R_LAT, the paper's ablation). A failed candidate has reward 0.
    """

    def __init__(
        self,
        space: SearchSpace,
        problem: Problem,
        *,
        alpha: float = 0.9,
        hidden: int = 100,
        learning_rate: float = 5e-4,
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
            policy=Controller(space.cardinalities, hidden, int(seeds[1])),
            rng=np.random.default_rng(seeds[0]),
            reward=Reward(problem, reward, alpha=alpha, scale=scale, floor=floor),
            learning_rate=learning_rate,
            samples=samples,
            baseline_decay=baseline_decay,
            entropy_weight=entropy_weight,
        )
