"""What another device would take for any network: a regression of its own measurements."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilnas.records import Architecture
from predictors._conformal import assign_folds
from predictors._graph_features import FEATURES, MODES
from predictors._linear import LinearModel, fit_ridge
from predictors._sources import Source
from predictors._trees import LinearChoice, held_out_error
from predictors._views import Views
from search_spaces._base import SearchSpace

Array = NDArray[np.float64]
_ALPHAS = (1e-4, 1e-2)
_FOLDS = 5
_N = len(FEATURES)


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A source's times as a linear model of the features of the graph it runs, and of decisions where they help.

    `mode` is that graph (a place in MODES), `error` the mean relative error on samples left out. Asked for another
    graph, the model says what the device would take if it ran that one.
    """

    name: str
    mode: int
    error: float
    mean_s: float
    with_decisions: bool
    model: LinearModel

    def relative(self, features: Array, decisions: Array) -> Array:
        """Return times over the source's mean, (modes, n), of features (n, modes, d) and decisions (n, e)."""
        return np.stack([self.model(self._inputs(features[:, i], decisions)) for i in range(len(MODES))]) / self.mean_s

    def _inputs(self, features: Array, decisions: Array) -> Array:
        return np.hstack([features, decisions]) if self.with_decisions else features


def views_of_rows(views: Views, architectures: Sequence[Architecture]) -> tuple[Array, Array]:
    """Return features (n, modes, d) and decisions (n, e) of architectures."""
    features = views.matrix("modes", architectures).reshape(len(architectures), len(MODES), _N)
    return features, views.matrix("encoding", architectures)


def fit_surrogate(source: Source, space: SearchSpace, views: Views, same_space: bool, seed: int = 0) -> Surrogate:
    """Return the surrogate of a source in its own space; cross-validation chooses graph, penalty and decisions.

    A source of another space has no decisions in common: its surrogate looks at features alone.
    """
    features, decisions = views_of_rows(views, source.architectures)
    times = source.latency_s
    folds = assign_folds([space.canonical(item) for item in source.architectures], _FOLDS, seed)
    best: tuple[float, int, bool, float] | None = None
    for with_decisions in (False, True) if same_space else (False,):
        modes = range(len(MODES)) if best is None else (best[1],)
        for mode, alpha in itertools.product(modes, _ALPHAS):
            inputs = np.hstack([features[:, mode], decisions]) if with_decisions else features[:, mode]
            error = held_out_error(inputs, times, folds, LinearChoice(MODES[mode], alpha, robust=True))
            if best is None or error < best[0]:
                best = (error, mode, with_decisions, alpha)
    assert best is not None
    error, mode, chosen, alpha = best
    inputs = np.hstack([features[:, mode], decisions]) if chosen else features[:, mode]
    model = fit_ridge(inputs, times, alpha, robust=True)
    return Surrogate(source.name, mode, error, float(times.mean()), chosen, model)
