"""Expected costs of supernets: what a network costs on the average under the shares of its choices.

Source: DCA-NAS, Eq. 3 and 4. A cost that is a sum over choices is expected exactly, and so is a whole table. Any other
model of costs is replaced by the sum that fits it best over random networks; how well that does is known, and what a
derived network really costs is asked of the model itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilnas.errors import UsageError
from hilnas.records import Architecture
from profiler._metrics import metrics
from search_spaces._base import SearchSpace
from search_spaces._supergraph import SupernetSpace
from searchers._cost_models import CostModel, StaticCost, TableCost
from searchers._relaxation import Table

Array = NDArray[np.float64]

#: Spaces up to this size are contracted as a whole table of costs.
_WHOLE_TABLE = 100_000
_SAMPLES = 600
_HELD_OUT = 100
#: Of the mean square of a column: choices that few samples have are pulled towards no cost.
_RIDGE = 1e-6
_ROUNDING = 1e-9


class RelaxedCost(ABC):
    """A cost of networks, continued to distributions over their choices.

    `explained` is the share of the variance of the real cost that it has, over networks it was not fitted to.
    """

    explained: float = 1.0

    @abstractmethod
    def of(self, shares: Sequence[Tensor]) -> Tensor:
        """Return the expectation (SI, float64) under one distribution a row; it can be differentiated."""


@dataclass(frozen=True)
class ExpectedCost(RelaxedCost):
    """A cost that is a sum over choices: what every network costs, and what a share of 1 of each choice adds."""

    fixed: float
    rows: Sequence[Array]
    explained: float = 1.0

    def of(self, shares: Sequence[Tensor]) -> Tensor:
        """Return the expectation under one distribution a row; rows beyond those of the cost add nothing."""
        total = torch.tensor(self.fixed, dtype=torch.float64)
        for row, own in zip(shares, self.rows, strict=False):
            total = total + row.double().cpu() @ torch.from_numpy(own)
        return total


@dataclass(frozen=True)
class TableExpectation(RelaxedCost):
    """The exact expectation of a table with an entry for every combination of choices, a row a decision."""

    table: Table

    def of(self, shares: Sequence[Tensor]) -> Tensor:
        """Return the expectation under one distribution a row; rows beyond the table's add nothing."""
        rows = [row.double().cpu() for row in shares[: len(self.table.sizes)]]
        most = max(map(len, rows))
        padded = [torch.nn.functional.pad(row, (0, most - len(row))) for row in rows]
        return self.table.expected(torch.stack(padded)[None])[0]


def whole_table(space: SearchSpace, model: TableCost) -> Table | None:
    """Return the costs of all networks of a space, None where it is too large.

    An entry that the table lacks counts as the dearest.
    """
    sizes = space.cardinalities
    if math.prod(sizes) > _WHOLE_TABLE:
        return None
    values = np.full(sizes, max(model.values.values()))
    for text, value in model.values.items():
        values[space.parse(text).decisions] = value
    return Table(values)


def expected_cost(space: SupernetSpace, model: CostModel) -> RelaxedCost:
    """Return the expectation of a model's costs: exact for what is counted and for whole tables, else of the best sum.

    Raises UsageError where the model knows no network of the space.
    """
    if isinstance(model, TableCost) and _rows(space) == list(space.cardinalities):
        table = whole_table(space, model)
        if table is not None:
            return TableExpectation(table)
    metric = metrics().get(model.metric)
    if not isinstance(model, StaticCost) or metric is None or metric.of_block(space.blocks()[0]) is None:
        return _fitted(space, model)
    return ExpectedCost(*space.row_costs(lambda block: metric.of_block(block) or 0.0))


def _fitted(space: SupernetSpace, model: CostModel) -> ExpectedCost:
    """Return the sum over choices that is nearest to a model's costs in the mean square (ridge regression)."""
    sizes = _rows(space)
    samples = space.sample_distinct(_SAMPLES + _HELD_OUT, seed=0)
    pairs = zip(samples, model.costs(samples), strict=True)
    known = [(item, cost.value) for item, cost in pairs if cost.value is not None]
    if len(known) < 2 * _HELD_OUT:
        raise UsageError(
            f"too few networks of {space.name} have a known {model.metric}: {len(known)} of {len(samples)}"
        )
    inputs = np.array([_indicators(space, item, sizes) for item, _ in known])
    values = np.array([value for _, value in known])
    fixed, weights = ridge(inputs[_HELD_OUT:], values[_HELD_OUT:])
    errors = values[:_HELD_OUT] - fixed - inputs[:_HELD_OUT] @ weights
    # Where all cost the same there is nothing to explain but rounding.
    spread = max(values[:_HELD_OUT].var(), (_ROUNDING * abs(values).max()) ** 2)
    explained = 1 - float(np.square(errors).mean() / spread) if spread else 1.0
    return ExpectedCost(fixed, np.split(weights, np.cumsum(sizes)[:-1]), explained)


def _rows(space: SupernetSpace) -> list[int]:
    return [len(row) for row in space.row_costs(lambda block: 0.0)[1]]


def _indicators(space: SupernetSpace, architecture: Architecture, sizes: Sequence[int]) -> Array:
    starts = np.cumsum([0, *sizes])
    found = np.zeros(starts[-1])
    for row, choice in space.chosen(architecture):
        if row < len(sizes):
            found[starts[row] + choice] = 1.0
    return found


def ridge(inputs: Array, values: Array) -> tuple[float, Array]:
    """Return constant and weights of the sum of columns that is nearest to values, weights kept small."""
    means, mean = inputs.mean(0), values.mean()
    centred = inputs - means
    penalty = _RIDGE * len(inputs) * np.eye(inputs.shape[1])
    weights = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (values - mean))
    return float(mean - means @ weights), weights


class Constraints:
    """Bounds on expected costs, and their multipliers, 0 at first and never negative."""

    def __init__(self, costs: Mapping[str, RelaxedCost], bounds: Mapping[str, float], rate: float = 0.05) -> None:
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
