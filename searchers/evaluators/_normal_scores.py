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
        points, counts = np.unique(values[np.isfinite(values)], return_counts=True)
        if not points.size:
            points, counts = np.zeros(1), np.ones(1, np.intp)
        # In units of the largest, differences are no larger than 2: scores may be as large as floats get.
        self._unit = float(np.abs(points).max()) or 1.0
        self._points = points / self._unit
        self._spread = float(self._points[-1] - self._points[0]) or 1.0
        self._ranks = (np.cumsum(counts) - counts / 2) / counts.sum()

    def __call__(self, values: ArrayLike) -> Array:
        """Return the normal scores, of the same shape."""
        given = np.asarray(values, np.float64)
        known = np.isfinite(given)
        with np.errstate(over="ignore"):
            scaled = np.where(known, given, 0.0) / self._unit
        above, below = self._beyond(scaled - self._points[-1]), self._beyond(self._points[0] - scaled)
        first, last = self._ranks[0], self._ranks[-1]
        ranks = np.interp(scaled, self._points, self._ranks) - first * below / 2 + (1 - last) * above / 2
        # Rounded: neighbours must not change order by the last digit of what was computed.
        return np.asarray(np.round(ndtri(np.where(known, ranks, first / 2)), _DIGITS))

    def _beyond(self, distance: Array) -> Array:
        """Return 0 for what lies within the population, towards 1 the further outside it lies."""
        return np.asarray(2 / np.pi * np.arctan(np.maximum(distance, 0.0) / self._spread))
