"""Figures over seeds: mean, standard deviation, and paired differences with their interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

#: Coverage of the interval of a paired difference.
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure under several seeds; None where a seed had no value. `sd` is the sample standard deviation."""

    mean: float | None
    sd: float | None
    per_seed: tuple[float | None, ...]

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Figure:
        """Return the figure of the values, seeds without one left out of mean and sd."""
        present = [value for value in values if value is not None]
        mean = fmean(present) if present else None
        return cls(mean, stdev(present) if len(present) > 1 else None, tuple(values))


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean of (first - second) over paired seeds with its 95 % interval by Student's t; `n` pairs counted."""

    mean: float
    lower: float | None
    upper: float | None
    n: int


def paired_difference(first: Sequence[float | None], second: Sequence[float | None]) -> PairedDifference | None:
    """Return the paired difference of two figures, None where no seed has both; no interval with one pair."""
    pairs = zip(first, second, strict=True)
    differences = [one - other for one, other in pairs if one is not None and other is not None]
    if not differences:
        return None
    mean, n = fmean(differences), len(differences)
    if n == 1:
        return PairedDifference(mean, None, None, n)
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(differences) / n**0.5
    return PairedDifference(mean, mean - half, mean + half, n)
