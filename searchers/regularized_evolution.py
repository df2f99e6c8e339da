"""Regularised (ageing) evolution.

Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, Algorithm 1: the best
of a random tournament has one child by mutation, and the oldest of the population dies. Population 10 and tournament 3
are NATS-Bench's for budgets of hundreds of evaluations. Limits enter by the rules of Deb (2000): what keeps them beats
what does not, by score among the first, by R_LAT among the others; a failed candidate loses to all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers._base import Searcher
from searchers._problem import Evaluation, Problem
from searchers._reward import limits_reward


@dataclass(frozen=True, order=True)
class _Fitness:
    """Compared field by field. rank: 2 feasible, 1 infeasible, 0 failed."""

    rank: int
    value: float


class RegularizedEvolution(Searcher):
    """Mutates the best of `tournament` drawn from the last `population` evaluations."""

    def __init__(self, space: SearchSpace, problem: Problem, *, population: int = 10, tournament: int = 3) -> None:
        super().__init__(space, problem)
        if not 1 <= tournament <= population:
            raise UsageError(f"tournament must lie between 1 and the population of {population}, not {tournament}")
        self._rng = np.random.default_rng(problem.seed)
        self._tournament = tournament
        self._population: deque[tuple[Architecture, _Fitness]] = deque(maxlen=population)
        self._to_start = population

    def suggest(self, n: int) -> list[Architecture]:
        """Return n architectures: random ones until the first population is complete, then children."""
        return [self._child() for _ in range(n)]

    def _child(self) -> Architecture:
        if self._to_start or not self._population:
            self._to_start = max(0, self._to_start - 1)
            return self.space.sample(self._rng)
        size = min(self._tournament, len(self._population))
        drawn = self._rng.choice(len(self._population), size, replace=False)
        parent = max((self._population[i] for i in drawn), key=lambda member: member[1])
        return self.space.mutate(parent[0], self._rng)

    def update(self, evaluations: Sequence[Evaluation]) -> None:
        """Let evaluations enter the population; the oldest leave it."""
        self._population.extend((item.architecture, self._fitness(item)) for item in evaluations)

    def _fitness(self, evaluation: Evaluation) -> _Fitness:
        if evaluation.score is None or evaluation.cause is not None:
            return _Fitness(0, 0.0)
        if evaluation.feasible:
            return _Fitness(2, evaluation.score)
        return _Fitness(1, limits_reward(self.problem, evaluation, alpha=1.0))

    def state(self) -> Any:
        """Return the generator's state, the population, oldest first, and how many of the first are still to come."""
        return {
            "rng": self._rng.bit_generator.state,
            "population": [[list(item.decisions), fit.rank, fit.value] for item, fit in self._population],
            "to_start": self._to_start,
        }

    def load_state(self, value: Any) -> None:
        """Continue from a value that `state` returned."""
        self._rng.bit_generator.state = value["rng"]
        members = [
            (self.space.architecture(tuple(decisions)), _Fitness(rank, fit))
            for decisions, rank, fit in value["population"]
        ]
        self._population = deque(members, maxlen=self._population.maxlen)
        self._to_start = value["to_start"]
