"""What a learning curve will come to, from its first epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Exponents that are tried: from a curve that hardly flattens to one that is flat after two epochs.
_EXPONENTS = np.linspace(0.1, 3.0, 30)


def power_law(accuracies: Sequence[float], epoch: int) -> float:
    """Return the accuracy (share) expected after `epoch` epochs, of a curve with one value an epoch from the first on.

    a - b * t^-c by least squares over the epochs t seen, b >= 0, c of a grid: `pow3` of Domhan, Springenberg and
    Hutter, IJCAI 2015. Never above 1, and never below what was reached last, the answer with fewer than three epochs.
    """
    seen = np.asarray(accuracies, np.float64)
    last = float(seen[-1])
    if len(seen) < 3 or epoch <= len(seen):
        return last
    t = np.arange(1, len(seen) + 1)
    fits = [_line(t**-c, seen, float(epoch) ** -c) for c in _EXPONENTS]
    _, expected = min(fits)
    return min(1.0, max(last, expected))


def _line(x: NDArray[np.float64], y: NDArray[np.float64], at: float) -> tuple[float, float]:
    """Return the squared error of the best line through (x, y) that does not rise, and its value."""
    slope = min(0.0, float(np.cov(x, y, bias=True)[0, 1] / x.var()))
    intercept = float(y.mean() - slope * x.mean())
    return float(((intercept + slope * x - y) ** 2).sum()), intercept + slope * at
