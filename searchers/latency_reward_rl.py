"""REINFORCE on an RNN controller with the latency reward of training-free hardware-aware search.

Source: Tran and Bae, JBE 26(7), 2021. The defaults are the paper's where it states them: alpha 0.9, one RNN layer of
100 units, Adam at 5e-4, selection by the highest score among the architectures that keep the limit. It does not state
samples per episode (here 1), the baseline (exponential mean with factor 0.9), an entropy bonus (none) or how the score
is scaled (here the rank among the architectures seen, mapped to [floor, 1]).
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
from searchers._problem import Evaluation, Problem
from searchers._reward import SCALES, limits_reward
from searchers._torch import Adam, Controller, one_thread, pack, unpack


class LatencyRewardRL(Searcher):
    """Learns where high scores lie just below the limits: reward = scaled score x product of R_LAT.

    samples: architectures per episode (one Adam step). floor: the scaled score of the worst; the best scores 1, so what
    exceeds a limit by more than 1 / floor is never worth it for its score. use_limits=False leaves R_LAT out (the
    paper's ablation). A failed candidate has reward 0.
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
        use_limits: bool = True,
    ) -> None:
        super().__init__(space, problem)
        _check_options(alpha, floor, samples, baseline_decay, scale)
        self._alpha = alpha
        self._samples = samples
        self._decay = baseline_decay
        self._entropy_weight = entropy_weight
        self._scale_name = scale
        self._floor = floor
        self._use_limits = use_limits
        seeds = np.random.SeedSequence(problem.seed).generate_state(2)
        self._rng = np.random.default_rng(seeds[0])
        self._controller = Controller(space.cardinalities, hidden, int(seeds[1]))
        self._optimizer = Adam(self._controller.parameters(), learning_rate)
        self._baseline: float | None = None
        self._scores: dict[tuple[int, ...], float] = {}
        self._scale = SCALES[scale]()
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
        """Return n architectures drawn from the controller."""
        return [self.space.architecture(decisions) for decisions in self._controller.sample(n, self._rng)]

    def update(self, evaluations: Sequence[Evaluation]) -> None:
        """Take one Adam step along sum of (reward - baseline) x grad log-probability, then move the baseline."""
        if not evaluations:
            return
        self._learn_scores(evaluations)
        self._rewards = tuple(self._reward(evaluation) for evaluation in evaluations)
        mean = sum(self._rewards) / len(self._rewards)
        baseline = mean if self._baseline is None else self._baseline
        self._step(evaluations, [reward - baseline for reward in self._rewards])
        self._baseline = self._decay * baseline + (1 - self._decay) * mean

    def _learn_scores(self, evaluations: Sequence[Evaluation]) -> None:
        for evaluation in evaluations:
            decisions = evaluation.architecture.decisions
            if evaluation.score is not None and decisions not in self._scores:
                self._scores[decisions] = evaluation.score
                self._scale.add(evaluation.score)

    def _reward(self, evaluation: Evaluation) -> float:
        if evaluation.score is None or evaluation.cause is not None:
            return 0.0
        score = self._floor + (1 - self._floor) * self._scale.scaled(evaluation.score)
        return score * limits_reward(self.problem, evaluation, self._alpha) if self._use_limits else score

    def _step(self, evaluations: Sequence[Evaluation], advantages: Sequence[float]) -> None:
        decisions = torch.tensor([evaluation.architecture.decisions for evaluation in evaluations])
        with one_thread():
            log_probs, entropy = self._controller(decisions)
            loss = -(torch.tensor(advantages, dtype=torch.float32) * log_probs).mean()
            if self._entropy_weight:
                loss = loss - self._entropy_weight * entropy.mean()
            self._optimizer.step(loss)

    def state(self) -> Any:
        """Return generator, controller, optimiser, baseline and the scores seen, as a JSON value."""
        return {
            "rng": self._rng.bit_generator.state,
            "controller": pack(dict(self._controller.named_parameters())),
            "adam": self._optimizer.state(),
            "baseline": self._baseline,
            "scores": [[list(decisions), score] for decisions, score in self._scores.items()],
        }

    def load_state(self, value: Any) -> None:
        """Continue from a value that `state` returned."""
        self._rng.bit_generator.state = value["rng"]
        self._controller.load_state_dict(unpack(value["controller"]))
        self._optimizer.load_state(value["adam"])
        self._baseline = value["baseline"]
        self._scores = {tuple(decisions): score for decisions, score in value["scores"]}
        self._scale = SCALES[self._scale_name](self._scores.values())


def _check_options(alpha: float, floor: float, samples: int, baseline_decay: float, scale: str) -> None:
    for name, value in (("alpha", alpha), ("floor", floor)):
        if not 0 <= value <= 1:
            raise UsageError(f"{name} must lie between 0 and 1, not {value}")
    if samples < 1:
        raise UsageError(f"samples must be at least 1, not {samples}")
    if not 0 <= baseline_decay < 1:
        raise UsageError(f"baseline_decay must lie in [0, 1), not {baseline_decay}")
    if scale not in SCALES:
        raise UsageError(f"scale must be one of {', '.join(SCALES)}, not {scale!r}")
