"""The exact expectation of a cost over independently drawn decisions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace

_MOST = 1 << 16


def all_architectures(space: SearchSpace) -> list[Architecture]:
    """Return every architecture, in the order of `numpy.ndindex(space.cardinalities)`; UsageError if too many."""
    n = int(np.prod(space.cardinalities, dtype=object))
    if n > _MOST:
        raise UsageError(
            f"{space.name} has {n} architectures: too many for an exact expectation", f"The most is {_MOST}."
        )
    return [space.architecture(item) for item in itertools.product(*map(range, space.cardinalities))]


def expectation(costs: NDArray[np.float64], probabilities: Any) -> Any:
    """Return the sum over all cells of costs x product of the decisions' probabilities.

    `costs` has one axis a decision; `probabilities[i]` has as many entries as axis i (numpy or torch).
    """
    first = probabilities[0]
    weighted: Any = costs if isinstance(first, np.ndarray) else first.new_tensor(costs)
    for i in reversed(range(costs.ndim)):
        weighted = weighted @ probabilities[i]
    return weighted
