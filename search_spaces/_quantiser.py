"""Fixed-point numbers: their formats, rounding to them, and how large rounded random numbers are.

The quantiser is that of QuantNAS and RADARS: a value x becomes M / 2^f, M = x 2^f rounded to an integer (half to
even) and clamped to N = i + f bits, the sign being one of the i integer bits. All steps are exact in float32, so that
every view of a network rounds alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

#: A float32 holds whole numbers of 24 bits and the sign.
_MAX_BITS = 24


@dataclass(frozen=True, slots=True, order=True)
class FixedPoint:
    """A format of numbers: `integer_bits` (the sign is one of them) and `fraction_bits`, 24 at most together.

    Raises ValueError for a format without a sign or of more bits than a float32 holds.
    """

    integer_bits: int
    fraction_bits: int

    def __post_init__(self) -> None:
        if self.integer_bits < 1 or self.fraction_bits < 0 or self.bits > _MAX_BITS:
            raise ValueError(f"no fixed-point format: {self.integer_bits} integer, {self.fraction_bits} fraction bits")

    @property
    def bits(self) -> int:
        """Return the bits of a number."""
        return self.integer_bits + self.fraction_bits

    @property
    def scale(self) -> float:
        """Return steps per unit."""
        return float(2**self.fraction_bits)

    @property
    def step(self) -> float:
        """Return the distance of neighbours."""
        return 1.0 / self.scale

    @property
    def lowest(self) -> float:
        """Return the smallest number."""
        return -float(2 ** (self.integer_bits - 1))

    @property
    def highest(self) -> float:
        """Return the largest number, one step below the size of the smallest."""
        return -self.lowest - self.step

    def __str__(self) -> str:
        return f"{self.integer_bits}.{self.fraction_bits}"


def quantise(values: NDArray[np.float32], form: FixedPoint) -> NDArray[np.float32]:
    """Return float32 values rounded to a format, the same shape; there is no negative zero among them."""
    steps = np.round(np.clip(values, np.float32(form.lowest), np.float32(form.highest)) * np.float32(form.scale))
    found: NDArray[np.float32] = steps * np.float32(form.step) + np.float32(0.0)
    return found


@lru_cache(maxsize=4096)
def normal_mean_square(deviation: float, form: FixedPoint, rectified: bool = False) -> float:
    """Return the expected square of a normal number, mean 0, after rounding; `rectified`: after a ReLU and rounding."""
    if deviation <= 0.0:
        return 0.0
    steps = np.arange(round(form.lowest * form.scale), round(form.highest * form.scale) + 1)
    limits = [-np.inf, *((steps[1:] - 0.5) * form.step), np.inf]
    below = np.array([0.5 * erfc(-limit / (deviation * sqrt(2.0))) for limit in limits])
    values = np.maximum(steps, 0) if rectified else steps
    return float(np.sum(np.diff(below) * (values * form.step) ** 2))
