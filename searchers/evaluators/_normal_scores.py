"""Normal scores: values of any scale and distribution as quantiles of the normal distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]
_DIGITS = 12


class NormalScores:
    """Maps a value to the normal quantile of its mid-rank among a population (van der Waerden, 1952).

    Increasing between the values of the population (linear in the rank) and beyond them, where it stays finite: an
    outlier counts as little more than the largest. What is not finite gets less than any finite value.
    """

    def __init__(self, population: ArrayLike) -> None:
        values = np.asarray(population, np.float64)
        values = values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
        # In units of the largest, differences are no larger than 2: scores may be as large as floats get.
        self._unit = float(np.abs(values).max()) or 1.0
        self._points, counts = np.unique(self._scaled(values), return_counts=True)
        self._spread = float(self._points[-1] - self._points[0]) or 1.0
        self._ranks = (np.cumsum(counts) - counts / 2) / counts.sum()

    def __call__(self, values: ArrayLike) -> Array:
        """Return the normal scores, of the same shape."""
        given = np.asarray(values, np.float64)
        known = np.isfinite(given)
        scaled = self._scaled(np.where(known, given, 0.0))
        above, below = self._beyond(scaled - self._points[-1]), self._beyond(self._points[0] - scaled)
        first, last = self._ranks[0], self._ranks[-1]
        ranks = self._within(scaled) - first * below / 2 + (1 - last) * above / 2
        # Rounded: neighbours must not change order by the last digit of what was computed.
        return np.asarray(np.round(ndtri(np.where(known, ranks, first / 2)), _DIGITS))

    def _scaled(self, values: Array) -> Array:
        with np.errstate(over="ignore"):
            return values / self._unit

    def _within(self, scaled: Array) -> Array:
        """Return ranks, linear between neighbours; np.interp's slopes overflow where those lie very close."""
        if len(self._points) == 1:
            return np.full(scaled.shape, self._ranks[0])
        inside = np.clip(scaled, self._points[0], self._points[-1])
        after = np.searchsorted(self._points[1:-1], inside, side="right") + 1
        start, end = self._points[after - 1], self._points[after]
        share = (inside - start) / (end - start)
        return np.asarray(self._ranks[after - 1] + share * (self._ranks[after] - self._ranks[after - 1]))

    def _beyond(self, distance: Array) -> Array:
        """Return 0 for what lies within the population, towards 1 the further outside it lies."""
        return np.asarray(2 / np.pi * np.arctan(np.maximum(distance, 0.0) / self._spread))
