"""Which networks to measure: those that leave the least uncertainty about all the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors._mixture import Mixture, Rows, Settings, own_products, products

Array = NDArray[np.float64]
#: Settings that take part: the likeliest.
_SETTINGS = 6


@dataclass(eq=False)
class _Belief:
    """What one process knows: covariances of candidates with the networks that matter, updated by every choice.

    `crossed` (n, r) with the reference, `variance` (n,) of the candidates, all relative to the base.
    """

    rows: Rows
    mode: int
    base: Array
    scales: Array
    noise: float
    weight: float
    crossed: Array
    variance: Array
    steps: list[Array]

    def gain(self) -> Array:
        """Return by how much measuring each candidate lowers the mean variance of the reference, shape (n,)."""
        return np.asarray((self.crossed**2).mean(axis=1) / (self.variance + self.noise**2))

    def learn(self, place: int, reference: Sequence[int]) -> None:
        """Take a measurement of the candidate at `place` into account."""
        one = self.rows.take([place])
        covariances = products(self.rows, one, self.mode, (self.base, self.base[[place]]))[:, :, 0]
        column = np.asarray(self.scales**2 @ covariances)
        for step in self.steps:
            column = column - step * step[place]
        step = column / np.sqrt(max(float(column[place]), 0.0) + self.noise**2)
        self.steps.append(step)
        self.crossed = self.crossed - np.outer(step, step[list(reference)])
        self.variance = np.maximum(self.variance - step**2, 0.0)


def choose(
    candidates: Rows,
    n: int,
    reference: Sequence[int],
    settings: Settings,
    barred: Sequence[Sequence[int]],
    measured: tuple[Rows, Mixture] | None = None,
) -> list[int]:
    """Return the places of n candidates whose measurement lowers the mean relative variance over `reference` most.

    One after the other, each choice taken into account in the next (active learning by Cohn's criterion, Seo et al.
    2000), averaged over the settings and graphs in which what is `measured` leaves belief. `barred[i]` are candidates
    that need no measurement once i is chosen, itself among them.
    """
    known = 0 if measured is None else len(measured[0])
    rows = candidates if measured is None else candidates.join(measured[0])
    beliefs = _prior(rows, settings, reference) if measured is None else _posterior(rows, measured[1], reference)
    for place in range(len(candidates), len(candidates) + known):
        for belief in beliefs:
            belief.learn(place, reference)
    open_ = np.ones(len(candidates), bool)
    chosen: list[int] = []
    while len(chosen) < n and open_.any():
        gains = sum(belief.weight * belief.gain()[: len(candidates)] for belief in beliefs)
        place = int(np.argmax(np.where(open_, gains, -np.inf)))
        chosen.append(place)
        open_[list(barred[place])] = False
        for belief in beliefs:
            belief.learn(place, reference)
    return chosen


def _prior(rows: Rows, settings: Settings, reference: Sequence[int]) -> list[_Belief]:
    """Return beliefs before anything is measured; a graph's uncertainties are in proportion to their sum."""
    likeliest = np.argsort(-settings.log_prior)[:_SETTINGS]
    shares = np.exp(settings.log_prior[likeliest] - settings.log_prior[likeliest[0]])
    found = []
    for mode in range(len(rows.base)):
        for i, share in zip(likeliest, shares / shares.sum(), strict=True):
            belief = _belief(
                rows, mode, rows.base[mode], settings.scales[i], float(settings.noise[i]), float(share), reference
            )
            belief.weight /= float(belief.variance[list(reference)].mean())
            found.append(belief)
    return found


def _posterior(rows: Rows, mixture: Mixture, reference: Sequence[int]) -> list[_Belief]:
    return [
        _belief(rows, stage.mode, base, stage.scales[i], float(stage.noise[i]), weight * float(share), reference)
        for stage, base, weight in mixture.components(rows)
        for i, share in list(enumerate(stage.shares))[:_SETTINGS]
    ]


def _belief(
    rows: Rows, mode: int, base: Array, scales: Array, noise: float, weight: float, reference: Sequence[int]
) -> _Belief:
    places = list(reference)
    crossed = np.asarray(
        np.einsum("g,gij->ij", scales**2, products(rows, rows.take(places), mode, (base, base[places])))
    )
    variance = np.asarray(scales**2 @ own_products(rows, mode, base))
    return _Belief(rows, mode, base, scales, noise, weight, crossed, variance, [])
