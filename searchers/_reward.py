"""The reward of training-free hardware-aware search, and the scaling of scores that it needs.

Source: Tran and Bae, "Training-Free Hardware-Aware Neural Architecture Search with Reinforcement Learning", JBE 26(7),
2021: R = Score x R_LAT.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from typing import Any

from hilnas.errors import UsageError
from searchers._problem import Evaluation, Problem


def limit_reward(value: float, limit: float, alpha: float) -> float:
    """Return R_LAT in (0, 1] of a positive value under a positive limit, same unit (section III.1 of the paper).

    Above the limit limit / value; up to it alpha + (1 - alpha) * value / limit. Both are 1 at the limit, so that the
    reward is continuous and highest just below it.
    """
    if value > limit:
        return limit / value
    return alpha + (1 - alpha) * value / limit


def limits_reward(problem: Problem, evaluation: Evaluation, alpha: float) -> float:
    """Return the product of R_LAT over all constraints, in (0, 1]; 0 where a constrained value is missing."""
    product = 1.0
    for constraint in problem.constraints:
        value = evaluation.bounds.get(constraint.metric)
        if value is None:
            return 0.0
        product *= limit_reward(value, constraint.limit, alpha)
    return product


def weighted_reward(accuracy: float, cost: float, alpha: float, beta: float, gamma: float) -> float:
    """Return alpha x accuracy + (1 - alpha) x (1 - (cost - beta) / gamma) (RADARS, Eq. 2).

    `accuracy` lies in [0, 1]; `cost`, `beta` and `gamma` > 0 have one unit. Costs above beta + gamma count below 0;
    those below beta, which the paper does not speak of, count as beta: a limit is to be kept, not fallen short of.
    """
    return alpha * accuracy + (1 - alpha) * (1 - max(0.0, cost - beta) / gamma)


class ScoreScale(ABC):
    """Maps raw scores of any sign and size to [0, 1] by the distinct architectures seen so far.

    The paper multiplies the score and does not say how it is scaled; a negative score would turn the reward around,
    and an unbounded one would drown the latency term.
    """

    def __init__(self, scores: Iterable[float] = ()) -> None:
        self._sorted = sorted(scores)

    def add(self, score: float) -> None:
        """Learn the score of an architecture not seen before."""
        insort(self._sorted, score)

    @abstractmethod
    def scaled(self, score: float) -> float:
        """Return the scaled value in [0, 1] of a score that was added."""


class RankScale(ScoreScale):
    """The share of seen scores that lie below, ties counted half: robust, whatever the distribution."""

    def scaled(self, score: float) -> float:
        """Return the mid-rank in (0, 1); 0.5 for the first score."""
        below, up_to = bisect_left(self._sorted, score), bisect_right(self._sorted, score)
        return (below + up_to) / 2 / len(self._sorted)


class MinMaxScale(ScoreScale):
    """The position between the lowest and the highest seen score: keeps distances; an outlier squeezes the rest."""

    def scaled(self, score: float) -> float:
        """Return the position in [0, 1]; 0.5 as long as all scores are equal."""
        # Halves: the difference of two large floats may be no float.
        low, high, own = self._sorted[0] / 2, self._sorted[-1] / 2, score / 2
        return 0.5 if low == high else (own - low) / (high - low)


SCALES: dict[str, type[ScoreScale]] = {"rank": RankScale, "minmax": MinMaxScale}
#: paper: R. strict: R, but what breaks a limit always earns less than what keeps all. none: without R_LAT.
REWARDS = ("paper", "strict", "none")


class Reward:
    """R = scaled score x R_LAT in [0, 1]; the score is scaled among the architectures seen so far.

    `floor` is the scaled score of the worst, `alpha` the R_LAT of a value far below its limit. A failed candidate has
    reward 0.
    """

    def __init__(self, problem: Problem, kind: str, *, alpha: float, scale: str, floor: float) -> None:
        _check(kind, alpha, scale, floor)
        self._problem = problem
        self._kind = kind
        self._alpha = alpha
        self._floor = floor
        self._scale_name = scale
        self._scores: dict[tuple[int, ...], float] = {}
        self._scale = SCALES[scale]()
        # No feasible candidate earns less.
        self._least_feasible = floor * alpha ** len(problem.constraints)

    def learn(self, evaluations: Iterable[Evaluation]) -> None:
        """Note the scores of architectures that were not seen before."""
        for evaluation in evaluations:
            decisions = evaluation.architecture.decisions
            if evaluation.score is not None and decisions not in self._scores:
                self._scores[decisions] = evaluation.score
                self._scale.add(evaluation.score)

    def of(self, evaluation: Evaluation) -> float:
        """Return the reward of an evaluation that was learned."""
        if evaluation.score is None or evaluation.cause is not None:
            return 0.0
        score = self._floor + (1 - self._floor) * self._scale.scaled(evaluation.score)
        if self._kind == "none":
            return score
        reward = score * limits_reward(self._problem, evaluation, self._alpha)
        # R < 1 beyond a limit, so that the product stays below what any feasible candidate earns.
        return reward if self._kind == "paper" or evaluation.feasible else reward * self._least_feasible

    def state(self) -> Any:
        """Return the scores seen, as a JSON value."""
        return [[list(decisions), score] for decisions, score in self._scores.items()]

    def load_state(self, value: Any) -> None:
        """Continue from a value that `state` returned."""
        self._scores = {tuple(decisions): score for decisions, score in value}
        self._scale = SCALES[self._scale_name](self._scores.values())


def _check(kind: str, alpha: float, scale: str, floor: float) -> None:
    for name, value, known in (("reward", kind, REWARDS), ("scale", scale, tuple(SCALES))):
        if value not in known:
            raise UsageError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    for name, number in (("alpha", alpha), ("floor", floor)):
        if not 0 <= number <= 1:
            raise UsageError(f"{name} must lie between 0 and 1, not {number}")
    if kind == "strict" and not alpha * floor:
        raise UsageError("reward=strict needs alpha and floor above 0", "Feasible ones could earn nothing otherwise.")
