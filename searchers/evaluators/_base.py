"""The contract of an evaluator: where a candidate's score comes from."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hilnas.records import Architecture
from search_spaces._base import SearchSpace

#: Why a cell without a path from input to output has no score.
DISCONNECTED = "the output does not depend on the input"


@dataclass(frozen=True, slots=True)
class Score:
    """A finite value, higher is better; or minus infinity with the cause of its absence. Never NaN."""

    value: float
    cause: str | None = None

    def __post_init__(self) -> None:
        if math.isfinite(self.value) == (self.cause is not None) or self.value == math.inf or math.isnan(self.value):
            raise ValueError(f"a score is finite or missing with a cause, not {self.value} with {self.cause!r}")

    @classmethod
    def missing(cls, cause: str) -> Score:
        """Return the score of a candidate that has none."""
        return cls(-math.inf, cause)

    @classmethod
    def of(cls, value: float, cause: str = "the score is not a finite number") -> Score:
        """Return the score of a value, missing where the value is not finite."""
        return cls(float(value)) if math.isfinite(value) else cls.missing(cause)


class Evaluator(ABC):
    """Gives architectures scores: higher is better, the same architecture always the same.

    The constructor takes the space and keyword options with defaults. A candidate that cannot be scored is a value
    (`Score.missing`), never an exception; one that cannot be built or ignores its input never has a score.
    `unit` and `cost` say in words what a score is and what it takes to get one.
    """

    unit: str = "none"
    cost: str

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def seeded(self, seed: int) -> Evaluator:
        """Return the evaluator of one seed of the search; itself where nothing of it is drawn."""
        return self

    def may_win(self, architecture: Architecture) -> bool:
        """Return whether an architecture may be the result: not where its own label has taught the evaluator."""
        return True

    def evaluate(self, architectures: Sequence[Architecture]) -> list[Score]:
        """Return one score per architecture, in order."""
        causes = [self._cause(architecture) for architecture in architectures]
        scores = iter(self._scores([item for item, cause in zip(architectures, causes, strict=True) if not cause]))
        return [Score.missing(cause) if cause else next(scores) for cause in causes]

    def _cause(self, architecture: Architecture) -> str:
        """Return why an architecture can have no score, nothing where it can."""
        obstacle = self.space.obstacle(architecture)
        return obstacle or ("" if self.space.connected(architecture) else DISCONNECTED)

    @abstractmethod
    def _scores(self, architectures: Sequence[Architecture]) -> list[Score]:
        """Return one score per connected architecture, in order."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what a score depends on beside the architecture, as a JSON value for the record."""
