"""The contract of a searcher that samples architectures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers._cost_models import CostModel
from searchers._problem import Evaluation, Problem


class Searcher(ABC):
    """Suggests architectures and learns from what they gave.

    The loop calls `suggest(n)`, evaluates the n architectures and hands all n evaluations to `update`, in order,
    before it suggests again:

        searcher = Searcher(space, problem)
        first = searcher.suggest(2)          # nothing is known yet
        searcher.update(evaluations_of(first))
        second = searcher.suggest(2)         # may depend on the first two

    * Everything random comes from `problem.seed`: the same problem and evaluations give the same suggestions.
    * A suggestion always lies in the space; it may repeat an earlier one.
    * An evaluation may have failed (`score` None). A searcher learns that such a candidate is bad; it never raises.
    * `state()` is a JSON value. A new searcher of the same arguments that loads it suggests what this one would.
    * Options of a searcher are keyword-only arguments of its constructor with defaults of type int, float, bool or
      str; the command line sets them with `--set NAME=VALUE`.
    """

    def __init__(self, space: SearchSpace, problem: Problem) -> None:
        self.space = space
        self.problem = problem

    def inform(self, cost_models: Sequence[CostModel]) -> None:  # noqa: B027
        """Take in, before the first suggestion, where the limited costs come from, one model a constraint.

        Asking them is free, unlike an evaluation. Most searchers learn costs from evaluations alone.
        """

    @property
    def batch(self) -> int:
        """Return how many suggestions the searcher wants evaluated between two updates."""
        return 1

    @property
    def last_rewards(self) -> tuple[float | None, ...]:
        """Return what the last update learned from, one value per evaluation; empty where there is no reward."""
        return ()

    @abstractmethod
    def suggest(self, n: int) -> list[Architecture]:
        """Return n architectures of the space to evaluate next."""

    @abstractmethod
    def update(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn from evaluations, failed ones included."""

    @abstractmethod
    def state(self) -> Any:
        """Return everything that later suggestions depend on, as a JSON value."""

    @abstractmethod
    def load_state(self, value: Any) -> None:
        """Continue from a value that `state` returned."""
