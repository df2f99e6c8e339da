"""Which networks to measure: those that leave the least uncertainty about all the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from predictors._mixture import Mixture, Rows, Settings, own_products, products

Array = NDArray[np.float64]
#: Settings that take part: the likeliest.
_SETTINGS = 6


@dataclass(frozen=True, eq=False)
class _View:
    """Networks as one graph shows them: covariances of the parts, which all settings share."""

    rows: Rows
    mode: int
    base: Array
    columns: dict[int, Array] = field(default_factory=dict)

    def crossed(self, places: Sequence[int]) -> Array:
        """Return the covariances of every network with some of them, shape (6, n, len(places))."""
        return products(self.rows, self.rows.take(places), self.mode, (self.base, self.base[list(places)]))

    def column(self, place: int) -> Array:
        """Return the covariances of every network with one of them, shape (6, n)."""
        if place not in self.columns:
            self.columns[place] = self.crossed([place])[:, :, 0]
        return self.columns[place]


@dataclass(eq=False)
class _Belief:
    """What one process knows: covariances of candidates with the networks that matter, updated by every choice.

    `crossed` (n, r) with the reference, `variance` (n,) of the candidates, `errors` (n,) those of measuring each; all
    relative to the base.
    """

    view: _View
    scales: Array
    weight: float
    crossed: Array
    variance: Array
    errors: Array
    steps: list[Array]

    def information(self) -> Array:
        """Return what measuring each candidate adds to the logarithm of the determinant (D-optimality), shape (n,)."""
        return np.asarray(np.log1p(self.variance / self.errors))

    def gain(self) -> Array:
        """Return by how much measuring each candidate lowers the mean variance of the reference, shape (n,)."""
        return np.asarray((self.crossed**2).mean(axis=1) / (self.variance + self.errors))

    def learn(self, place: int, reference: Sequence[int]) -> None:
        """Take a measurement of the candidate at `place` into account."""
        column = np.asarray(self.scales**2 @ self.view.column(place))
        for step in self.steps:
            column = column - step * step[place]
        step = column / np.sqrt(max(float(column[place]), 0.0) + self.errors[place])
        self.steps.append(step)
        self.crossed = self.crossed - np.outer(step, step[list(reference)])
        self.variance = np.maximum(self.variance - step**2, 0.0)


def choose_first(
    candidates: Rows, n: int, reference: Sequence[int], settings: Settings, barred: Sequence[Sequence[int]]
) -> list[int]:
    """Return the places of n candidates that together tell most, before anything is measured (D-optimality).

    One after the other, each choice taken into account in the next, averaged over graphs and the likeliest settings.
    `barred[i]` are candidates that need no measurement once i is chosen, itself among them.
    """
    beliefs = _prior(candidates, settings, reference)
    return _greedy(beliefs, _Belief.information, n, reference, barred)


def choose_next(
    candidates: Rows,
    n: int,
    reference: Sequence[int],
    measured: Rows,
    mixture: Mixture,
    barred: Sequence[Sequence[int]],
) -> list[int]:
    """Return the places of n candidates whose measurement lowers the mean relative variance over `reference` most.

    One after the other, each choice taken into account in the next (active learning by Cohn's criterion, Seo et al.
    2000), averaged over the settings and graphs in which what is `measured` leaves belief. `barred` as above.
    """
    beliefs = _posterior(candidates, measured, mixture, reference)
    return _greedy(beliefs, _Belief.gain, n, reference, barred)


def _greedy(
    beliefs: Sequence[_Belief],
    worth: Callable[[_Belief], Array],
    n: int,
    reference: Sequence[int],
    barred: Sequence[Sequence[int]],
) -> list[int]:
    open_ = np.ones(len(barred), bool)
    chosen: list[int] = []
    while len(chosen) < n and open_.any():
        total = np.sum([belief.weight * worth(belief)[: len(barred)] for belief in beliefs], axis=0)
        place = int(np.argmax(np.where(open_, total, -np.inf)))
        chosen.append(place)
        open_[list(barred[place])] = False
        for belief in beliefs:
            belief.learn(place, reference)
    return chosen


def _prior(rows: Rows, settings: Settings, reference: Sequence[int]) -> list[_Belief]:
    """Return beliefs before anything is measured; each graph weighs by how little is uncertain in it."""
    likeliest = settings.take(np.argsort(-settings.log_prior)[:_SETTINGS])
    shares = np.exp(likeliest.log_prior - likeliest.log_prior[0])
    found = []
    for mode in range(len(rows.base)):
        errors = np.repeat(likeliest.noise[:, None] ** 2, len(rows), axis=1)
        beliefs = _beliefs(_View(rows, mode, rows.base[mode]), likeliest, shares / shares.sum(), errors, reference)
        for belief in beliefs:
            belief.weight /= float(belief.variance[list(reference)].mean())
        found += beliefs
    return found


def _posterior(candidates: Rows, measured: Rows, mixture: Mixture, reference: Sequence[int]) -> list[_Belief]:
    """Return beliefs that know what was measured, as far as each measurement is believed."""
    rows = candidates.join(measured)
    likeliest = np.arange(_SETTINGS)
    found = []
    for stage, base, weight in mixture.components(rows):
        settings = stage.settings.take(likeliest)
        new = np.repeat(settings.noise[:, None] ** 2, len(candidates), axis=1)
        errors = np.hstack([new, stage.explained.variances[likeliest]])
        view = _View(rows, stage.mode, base)
        found += _beliefs(view, settings, weight * stage.shares[likeliest], errors, reference)
    for belief in found:
        for place in range(len(candidates), len(rows)):
            belief.learn(place, reference)
    return found


def _beliefs(view: _View, settings: Settings, weights: Array, errors: Array, reference: Sequence[int]) -> list[_Belief]:
    crossed = settings.covariances(view.crossed(reference))
    variance = settings.covariances(own_products(view.rows, view.mode, view.base))
    return [
        _Belief(view, settings.scales[i], float(weights[i]), crossed[i], variance[i], errors[i], [])
        for i in range(len(weights))
    ]
