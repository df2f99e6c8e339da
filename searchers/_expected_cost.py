"""The device's limits in a differentiable search: expected costs, and a multiplier for each that ascends.

Source: DCA-NAS, Eqs. 3 and 4 and Algorithm 1. The constraint is normalised by its bound, so that the rate of the
multiplier has no unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ExpectedCost:
    """A cost that is a sum over choices: what every network costs, and what a share of 1 of each choice adds."""

    fixed: float
    rows: Sequence[Array]

    def of(self, shares: Sequence[Tensor]) -> Tensor:
        """Return the expectation under one distribution a row; rows beyond those of the cost add nothing."""
        total = torch.tensor(self.fixed, dtype=torch.float64)
        for row, own in zip(shares, self.rows, strict=False):
            total = total + row.double().cpu() @ torch.from_numpy(own)
        return total


class Constraints:
    """Bounds on expected costs, and their multipliers, 0 at first and never negative."""

    def __init__(self, costs: Mapping[str, ExpectedCost], bounds: Mapping[str, float], rate: float = 0.05) -> None:
        self._costs, self._bounds, self._rate = costs, bounds, rate
        self.multipliers = dict.fromkeys(costs, 0.0)

    def expected(self, shares: Sequence[Tensor]) -> dict[str, float]:
        """Return the expected costs, in their units."""
        return {name: float(cost.of(shares).detach()) for name, cost in self._costs.items()}

    def penalty(self, shares: Sequence[Tensor]) -> Tensor:
        """Return the sum of multiplier x (expected cost / bound - 1), and let the multipliers ascend by it."""
        total = torch.zeros((), dtype=torch.float64)
        for name, cost in self._costs.items():
            excess = cost.of(shares) / self._bounds[name] - 1
            total = total + self.multipliers[name] * excess
            self.multipliers[name] = max(0.0, self.multipliers[name] + self._rate * float(excess.detach()))
        return total
