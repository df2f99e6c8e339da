"""Random search: the baseline that is printed beside every other searcher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers._base import Searcher
from searchers._problem import Evaluation, Problem

#: Draws for one suggestion before a repeated architecture is accepted: small spaces run out.
_MAX_DRAWS = 100


class RandomSearch(Searcher):
    """Draws connected architectures uniformly by the space's own `sample`, each once as long as there are new ones."""

    def __init__(self, space: SearchSpace, problem: Problem) -> None:
        super().__init__(space, problem)
        self._rng = np.random.default_rng(problem.seed)
        self._seen: set[tuple[int, ...]] = set()

    @property
    def batch(self) -> int:
        """Return 16: suggestions do not depend on evaluations, and predictors are faster on several."""
        return 16

    def suggest(self, n: int) -> list[Architecture]:
        """Return n random architectures that were not suggested before, where the space has any left."""
        return [self._draw() for _ in range(n)]

    def _draw(self) -> Architecture:
        for _ in range(_MAX_DRAWS):
            candidate = self.space.sample(self._rng)
            if candidate.decisions not in self._seen:
                break
        self._seen.add(candidate.decisions)
        return candidate

    def update(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn nothing."""

    def state(self) -> Any:
        """Return the generator's state and the decisions seen."""
        return {"rng": self._rng.bit_generator.state, "seen": sorted(map(list, self._seen))}

    def load_state(self, value: Any) -> None:
        """Continue from a value that `state` returned."""
        self._rng.bit_generator.state = value["rng"]
        self._seen = {tuple(decisions) for decisions in value["seen"]}
