"""The nouns of a search: what is asked (`Problem`), what one candidate gave (`Evaluation`), what came out (`Study`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from hilnas.records import Architecture, Constraint


@dataclass(frozen=True, slots=True)
class Problem:
    """A space (its options as canonical JSON), upper limits on metrics, a budget of evaluations, and a seed.

    The objective is the evaluator's score, higher is better. Every suggestion counts as an evaluation, repeated
    ones too.
    """

    space: str
    constraints: tuple[Constraint, ...]
    evaluations: int
    seed: int
    space_options: str = "{}"

    def __post_init__(self) -> None:
        if self.evaluations < 1:
            raise ValueError("a problem needs at least one evaluation")

    def feasible(self, bounds: Mapping[str, float]) -> bool:
        """Return whether every constraint holds for the given values (SI); a missing value holds nothing."""
        return all(
            constraint.metric in bounds and bounds[constraint.metric] <= constraint.limit
            for constraint in self.constraints
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one candidate gave. A failure is a value: `score` is None and `cause` says why.

    `costs` holds the best guess of each constrained metric (SI), `bounds` what is compared with the limit: the guess
    itself, or its upper bound where the constraint names a confidence. `feasible` says that the candidate has a score
    and keeps every limit. `reward` is what the searcher learned from it, None where it learns from none. `may_win` is
    false where its own label has taught the evaluator.
    """

    architecture: Architecture
    score: float | None
    costs: Mapping[str, float]
    bounds: Mapping[str, float]
    feasible: bool
    cause: str | None = None
    reward: float | None = None
    may_win: bool = True

    def __post_init__(self) -> None:
        if self.score is None and self.cause is None:
            raise ValueError("an evaluation without a score needs a cause")
        if self.feasible and self.cause is not None:
            raise ValueError("a failed evaluation is not feasible")


@dataclass(frozen=True)
class Study:
    """What one searcher saw and chose under one seed."""

    searcher: str
    problem: Problem
    evaluations: tuple[Evaluation, ...] = field(repr=False)
    elapsed_s: float = 0.0

    @cached_property
    def ranked(self) -> tuple[Evaluation, ...]:
        """Return the distinct feasible candidates that may win, best score first, of equals the earlier first."""
        first: dict[Architecture, tuple[float, Evaluation]] = {}
        for item in self.evaluations:
            if item.feasible and item.may_win and item.score is not None:
                first.setdefault(item.architecture, (item.score, item))
        return tuple(item for _, item in sorted(first.values(), key=lambda pair: -pair[0]))

    @property
    def winner(self) -> Evaluation | None:
        """Return the feasible candidate of the highest score, None where nothing was feasible."""
        return self.ranked[0] if self.ranked else None

    @property
    def feasible_share(self) -> float:
        """Return the share of all evaluations that were feasible."""
        return self._share(self.evaluations)

    @property
    def late_feasible_share(self) -> float:
        """Return the feasible share of the last fifth of the evaluations: what the searcher proposes in the end."""
        return self._share(self.evaluations[-max(1, len(self.evaluations) // 5) :])

    @property
    def feasible_share_last_100(self) -> float:
        """Return the feasible share of the last 100 evaluations, of all where there are fewer."""
        return self._share(self.evaluations[-100:])

    @property
    def distinct(self) -> int:
        """Return the number of different architectures seen."""
        return len({item.architecture for item in self.evaluations})

    @property
    def failed(self) -> int:
        """Return the number of evaluations that failed: no score, or no value of a constrained metric."""
        return sum(item.cause is not None for item in self.evaluations)

    @staticmethod
    def _share(evaluations: tuple[Evaluation, ...]) -> float:
        return sum(item.feasible for item in evaluations) / len(evaluations) if evaluations else 0.0
