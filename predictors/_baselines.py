"""Baselines that are no plug-ins: the additive table, fitted instead of measured, and the best other device, scaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from hilnas.records import Architecture
from predictors._base import Array, Model, Predictor
from predictors._linear import fit_ridge
from predictors._sources import Source, source_space
from predictors._surrogates import Surrogate, fit_surrogate, views_of_rows
from predictors._trees import LinearChoice, choose_linear
from predictors._views import Views, views_of
from search_spaces._base import SearchSpace

_ALPHAS = (1e-4, 1e-3, 1e-2, 1e-1)


class AdditiveTable(Predictor):
    """Every decision adds a time of its own: ridge regression on the one-hot encoding, penalty by cross-validation."""

    minimum_samples = 50

    def _inputs(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        return views.matrix("encoding", architectures)

    def _choose(self, inputs: Array, y: Array, folds: NDArray[np.intp]) -> dict[str, Any]:
        candidates = [LinearChoice("encoding", alpha, robust=False) for alpha in _ALPHAS]
        return {"alpha": choose_linear(inputs, y, folds, {"encoding": slice(None)}, candidates).alpha}

    def _train(self, inputs: Array, y: Array, choices: Mapping[str, Any]) -> Model:
        return fit_ridge(inputs, y, choices["alpha"])


class BestSource(Predictor):
    """The source that ranks the training samples best, scaled by the median ratio.

    A source says what it measured; of networks it has not measured, what its surrogate says. `sources` are JSON values
    as those of `transfer`, at least one.
    """

    minimum_samples = 10
    _known: tuple[_Times, ...] = ()

    def __init__(
        self, space: SearchSpace, *, sources: Sequence[Mapping[str, Any]], seed: int = 0, coverage: float = 0.9
    ) -> None:
        super().__init__(space, seed=seed, coverage=coverage)
        self.sources = sources

    def _inputs(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        self._known = self._known or tuple(_Times(item, self.space, self.seed) for item in self.sources)
        return np.column_stack([item.of(views, architectures) for item in self._known])

    def _choose(self, inputs: Array, y: Array, folds: NDArray[np.intp]) -> dict[str, Any]:
        ranks = [_rank_correlation(column, y) for column in inputs.T]
        return {"source": int(np.argmax(ranks))}

    def _train(self, inputs: Array, y: Array, choices: Mapping[str, Any]) -> Model:
        place = choices["source"]
        scale = float(np.median(y / inputs[:, place]))
        return lambda rows: scale * rows[:, place]


class _Times:
    """What one source takes for any network."""

    def __init__(self, values: Mapping[str, Any], space: SearchSpace, seed: int) -> None:
        self._own = source_space(values, space)
        self._source = Source.from_json(values, self._own)
        self._measured = {
            item.text: value for item, value in zip(self._source.architectures, self._source.latency_s, strict=True)
        }
        self._same = self._own.reference == space.reference
        self._seed = seed
        self._surrogate: Surrogate | None = None

    def of(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        """Return seconds, shape (n,)."""
        found = np.array([self._measured.get(item.text, np.nan) for item in architectures])
        missing = [i for i, value in enumerate(found) if np.isnan(value)]
        if missing:
            found[missing] = self._guessed(views, [architectures[i] for i in missing])
        return found

    def _guessed(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        if self._surrogate is None:
            self._surrogate = fit_surrogate(self._source, self._own, views_of(self._own), self._same, self._seed)
        relative = self._surrogate.relative(*views_of_rows(views, architectures))[self._surrogate.mode]
        return np.asarray(relative * self._surrogate.mean_s)


def _rank_correlation(first: Array, second: Array) -> float:
    """Return Spearman's; -1 where one is constant, so that anything else is better."""
    return float(spearmanr(first, second).statistic) if np.ptp(first) > 0 and np.ptp(second) > 0 else -1.0
