"""What fusions of several scores share: one matrix of normal scores."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers.evaluators._base import Evaluator, Score
from searchers.evaluators._normal_scores import Array, NormalScores

#: Random architectures that say what is high and what is low. They get no labels and are proposed by nobody.
POPULATION = 500
#: Draws for one of the population: a table may leave architectures out.
_DRAWS = 4
#: Separates what is drawn for the population from everything else that is drawn under the same seed.
_STREAM = 2
_NO_VALUE = "none of the fused scores has a value"


class Fusion(Evaluator):
    """Fuses the scores of several evaluators to one.

    Every score becomes the normal score of its rank among a random sample of the space, drawn under `seed`. A value
    that is missing or not finite counts as worse than the worst of the sample; a candidate without any has no score.
    """

    def __init__(self, space: SearchSpace, parts: Sequence[Evaluator], seed: int) -> None:
        super().__init__(space)
        self._parts = tuple(parts)
        self._seed = seed
        self.cost = " + ".join(part.cost for part in self._parts) or "nothing: there is nothing to fuse"

    def _scores(self, architectures: Sequence[Architecture]) -> list[Score]:
        values = self._values(architectures)
        known = np.asarray(np.isfinite(values).any(axis=1))
        if not known.any():
            return [Score.missing(_NO_VALUE)] * len(architectures)
        fused = self._fused(self._normal(values), architectures)
        return [Score.of(value) if has else Score.missing(_NO_VALUE) for value, has in zip(fused, known, strict=True)]

    @abstractmethod
    def _fused(self, normal: Array, architectures: Sequence[Architecture]) -> Array:
        """Return one score per architecture, whose normal scores have the shape (n, parts)."""

    def _values(self, architectures: Sequence[Architecture]) -> Array:
        """Return the scores as they are, shape (n, parts); -inf where one is missing."""
        columns = [[score.value for score in part._scores(architectures)] for part in self._parts]
        return np.array(columns, np.float64).reshape(len(self._parts), len(architectures)).T

    def _normal(self, values: Array) -> Array:
        return np.column_stack([scale(column) for scale, column in zip(self._scales, values.T, strict=True)])

    def _usable(self, architecture: Architecture) -> bool:
        """Return whether an architecture has any of the scores."""
        return not self._cause(architecture) and bool(np.isfinite(self._values([architecture])).any())

    @cached_property
    def _scales(self) -> list[NormalScores]:
        rng = np.random.default_rng([self._seed, _STREAM])
        drawn = dict.fromkeys(self.space.sample(rng) for _ in range(POPULATION * _DRAWS))
        usable = (architecture for architecture in drawn if self._usable(architecture))
        population = list(itertools.islice(usable, POPULATION))
        return [NormalScores(column) for column in self._values(population).T]

    def _description(self, name: str) -> dict[str, Any]:
        return {
            "score": name,
            "parts": [part.describe() for part in self._parts],
            "population": POPULATION,
            "missing": "worse than the worst of the population",
        }
