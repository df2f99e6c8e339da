"""Where the values of constrained metrics come from: a table, the graph, or a predictor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hilnas.records import Architecture, Provenance
from profiler._metrics import metrics
from search_spaces._base import SearchSpace

if TYPE_CHECKING:
    from predictors._base import Predictor


@dataclass(frozen=True, slots=True)
class Cost:
    """One metric of one candidate in SI: best guess, its interval, and what is compared with a limit (`bound`).

    Where nothing is known, `value` is None and `cause` says why.
    """

    value: float | None
    lower: float | None = None
    upper: float | None = None
    bound: float | None = None
    provenance: Provenance | None = None
    cause: str | None = None

    @classmethod
    def exact(cls, value: float, provenance: Provenance | None = None) -> Cost:
        """Return a cost that is known without an interval."""
        return cls(value, value, value, value, provenance)

    @classmethod
    def missing(cls, cause: str) -> Cost:
        """Return the cost of a candidate that has none."""
        return cls(None, cause=cause)


class CostModel(ABC):
    """Gives one metric of architectures, in SI; what is missing is a value with its cause, never an exception."""

    metric: str

    @abstractmethod
    def costs(self, architectures: Sequence[Architecture]) -> list[Cost]:
        """Return one cost per architecture, in order."""


@dataclass(frozen=True)
class TableCost(CostModel):
    """The column of a reference table: architecture text -> value (SI); exact, whatever confidence is asked."""

    metric: str
    values: Mapping[str, float] = field(repr=False)
    source: str = "table"

    def costs(self, architectures: Sequence[Architecture]) -> list[Cost]:
        """Return the entries of the table."""
        return [self._look_up(architecture.text) for architecture in architectures]

    def _look_up(self, text: str) -> Cost:
        if text not in self.values:
            return Cost.missing(f"{self.source} has no {self.metric} of this architecture")
        return Cost.exact(self.values[text], "table")


@dataclass(frozen=True)
class StaticCost(CostModel):
    """A metric that follows from the graph (macs, params, aops) of the network as it is trained."""

    metric: str
    space: SearchSpace

    def costs(self, architectures: Sequence[Architecture]) -> list[Cost]:
        """Return the counts."""
        return [self._count(architecture) for architecture in architectures]

    def _count(self, architecture: Architecture) -> Cost:
        obstacle = self.space.obstacle(architecture)
        if obstacle:
            return Cost.missing(obstacle)
        return Cost.exact(metrics()[self.metric].of_graph(self.space.graph(architecture)))


@dataclass(frozen=True)
class PredictedCost(CostModel):
    """Latency by a fitted predictor.

    Without a confidence the best guess is compared with the limit; with confidence p the upper end of the central
    interval of coverage 2p - 1, which keeps the limit exactly where the predictor's `probability` of that is p.
    """

    predictor: Predictor
    confidence: float | None = None
    metric: str = "latency"

    def costs(self, architectures: Sequence[Architecture]) -> list[Cost]:
        """Return the predictions with the predictor's own interval."""
        obstacles = [self.predictor.space.obstacle(item) for item in architectures]
        known = iter(
            self._known([item for item, obstacle in zip(architectures, obstacles, strict=True) if not obstacle])
        )
        return [Cost.missing(obstacle) if obstacle else next(known) for obstacle in obstacles]

    def _known(self, architectures: Sequence[Architecture]) -> list[Cost]:
        if not architectures:
            return []
        shown = self.predictor.predict(architectures)
        bounds = shown.mean_s if self.confidence is None else self._upper_s(architectures, self.confidence)
        return [
            Cost(guess.mean_s, guess.lower_s, guess.upper_s, float(bound), guess.provenance)
            for guess, bound in zip(shown, bounds, strict=True)
        ]

    def _upper_s(self, architectures: Sequence[Architecture], confidence: float) -> NDArray[np.float64]:
        return self.predictor.predict(architectures, 2 * confidence - 1).upper_s

    def probability(self, architecture: Architecture, limit_s: float) -> float:
        """Return how likely an architecture takes at most so many seconds."""
        return float(self.predictor.probability([architecture], limit_s)[0])
