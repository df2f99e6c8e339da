"""Seconds by decision: of many architectures at once, given as codes, and their exact expectation.

Codes are integers of shape (n, decisions), a choice for each decision; probabilities are one vector a decision.
A small space is predicted once, cell by cell; where a network is a chain of one block a decision and its time a line
in what the blocks cost, every choice has a time of its own and a network's is their sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture
from predictors._linear import ColumnsLine
from search_spaces._base import SearchSpace

Array = NDArray[np.float64]
#: A space of more architectures is not predicted as a whole.
MOST_CELLS = 1 << 16


@dataclass(frozen=True, eq=False)
class Cells:
    """The seconds of every architecture, one axis a decision."""

    seconds: Array

    def of(self, codes: NDArray[np.intp]) -> Array:
        """Return the seconds of codes, shape (n,)."""
        found: Array = self.seconds[tuple(codes.T)]
        return found

    def expected(self, probabilities: Any) -> Any:
        """Return the sum over all cells of seconds x product of the decisions' probabilities (numpy or torch)."""
        weighted = _like(probabilities[0], self.seconds)
        for i in reversed(range(self.seconds.ndim)):
            weighted = weighted @ probabilities[i]
        return weighted


@dataclass(frozen=True, eq=False)
class Parts:
    """What adds up over decisions: rows of some shape, one of the first choices and what each other choice changes.

    `first` has the shape of a row; `changes[i]` the same behind an axis of the choices of decision i.
    """

    first: Array
    changes: tuple[Array, ...]

    @classmethod
    def of(cls, rows: Array, cardinalities: Sequence[int]) -> Parts:
        """Return the parts of the rows of `changed_once`."""
        return cls(rows[0], tuple(np.split(rows[1:] - rows[0], np.cumsum(cardinalities)[:-1])))

    def rows(self, codes: NDArray[np.intp]) -> Array:
        """Return the rows of codes, one behind the other."""
        total = np.tile(self.first, (len(codes), *(1,) * self.first.ndim))
        for change, column in zip(self.changes, codes.T, strict=True):
            total += change[column]
        return total


@dataclass(frozen=True, eq=False)
class Sums:
    """Seconds that add up, but are never less than `floor_s`."""

    parts: Parts
    floor_s: float

    @classmethod
    def of_line(cls, model: ColumnsLine, parts: Parts) -> Sums:
        """Return the seconds of a line whose rows are sums of parts."""
        line, columns = model.line, model.columns
        first = np.asarray(line.intercept + parts.first[columns] @ line.coefficients)
        changes = tuple(change[:, columns] @ line.coefficients for change in parts.changes)
        return cls(Parts(first, changes), line.floor)

    def of(self, codes: NDArray[np.intp]) -> Array:
        """Return the seconds of codes, shape (n,)."""
        return np.maximum(self.parts.rows(codes), self.floor_s)

    def expected(self, probabilities: Any) -> Any:
        """Return the expected sum (numpy or torch); the floor is left out, so that every choice has a gradient."""
        total: Any = float(self.parts.first)
        for seconds, weights in zip(self.parts.changes, probabilities, strict=True):
            total = total + weights @ _like(weights, seconds)
        return total


def checked_codes(codes: ArrayLike, cardinalities: Sequence[int]) -> NDArray[np.intp]:
    """Return codes as they are indexed with; raise UsageError for anything but decisions of a space."""
    found = np.asarray(codes)
    shaped = found.ndim == 2 and found.shape[1] == len(cardinalities) and np.issubdtype(found.dtype, np.integer)
    if not shaped or (found.size and (found.min() < 0 or (found.max(axis=0) >= cardinalities).any())):
        most = ", ".join(str(n - 1) for n in cardinalities)
        raise UsageError(
            f"an array of {found.dtype} and shape {found.shape} holds no codes of this space",
            f"Integers of shape (n, {len(cardinalities)}) are expected, from 0 up to {most}.",
        )
    return found.astype(np.intp, copy=False)


def all_architectures(space: SearchSpace) -> list[Architecture]:
    """Return every architecture, in the order of `numpy.ndindex(space.cardinalities)`."""
    return [space.architecture(item) for item in itertools.product(*map(range, space.cardinalities))]


def changed_once(space: SearchSpace) -> list[Architecture]:
    """Return the architecture of first choices, then for every decision each of its choices, the others first."""
    first = (0,) * len(space.cardinalities)
    changed = [(*first[:i], choice, *first[i + 1 :]) for i, n in enumerate(space.cardinalities) for choice in range(n)]
    return [space.architecture(item) for item in (first, *changed)]


def _like(model: Any, values: Array) -> Any:
    return values if isinstance(model, np.ndarray) else model.new_tensor(values)
