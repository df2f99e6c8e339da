"""A random forest on the decisions alone: what the labels of a fusion are worth without any indicator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers.evaluators._base import Evaluator, Score
from searchers.evaluators._labels import Labels
from searchers.evaluators._trees import Trees

_TREES = 200


class Forest(Evaluator):
    """Predicts the accuracy from the decisions; what its labels belong to, isomorphic forms included, may not win."""

    cost = "a forest fitted once a seed, a third of a second, then 0.3 ms an architecture"

    def __init__(self, space: SearchSpace, *, labels: Labels | None = None, seed: int = 0) -> None:
        super().__init__(space)
        self._labels = labels or Labels()
        self._seed = seed

    def seeded(self, seed: int) -> Forest:
        """Return the forest whose labels and trees are drawn under this seed."""
        return Forest(self.space, labels=self._labels, seed=seed)

    def may_win(self, architecture: Architecture) -> bool:
        """Return whether no label of the architecture's form was seen."""
        return self.space.canonical(architecture) not in self._taught[1]

    def _scores(self, architectures: Sequence[Architecture]) -> list[Score]:
        if not self._labels.values:
            return [Score.missing("there are no labels to learn from")] * len(architectures)
        if not architectures:
            return []
        trees = self._taught[0]
        return [Score.of(value) for value in trees(self._encoded(architectures))]

    @cached_property
    def _taught(self) -> tuple[Trees, frozenset[str]]:
        """Return the trees, and the canonical forms whose labels taught them."""
        from sklearn.ensemble import RandomForestRegressor

        known, accuracies = self._labels.draw(self.space, self._seed, lambda item: not self._cause(item))
        forest = RandomForestRegressor(_TREES, random_state=self._seed).fit(self._encoded(known), accuracies)
        return Trees.of(forest.estimators_), frozenset(map(self.space.canonical, known))

    def _encoded(self, architectures: Sequence[Architecture]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.array([self.space.encode(item) for item in architectures], np.float32)

    def describe(self) -> dict[str, Any]:
        """Return what is fitted, and the labels."""
        return {"score": "forest", "trees": _TREES, **self._labels.describe()}
