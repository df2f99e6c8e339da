"""The reward of training-free hardware-aware search, and the scaling of scores that it needs.

Source: Tran and Bae, "Training-Free Hardware-Aware Neural Architecture Search with Reinforcement Learning", JBE 26(7),
2021: R = Score x R_LAT.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

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
        low, high = self._sorted[0], self._sorted[-1]
        return 0.5 if low == high else (score - low) / (high - low)


SCALES: dict[str, type[ScoreScale]] = {"rank": RankScale, "minmax": MinMaxScale}
