"""The contract of a search that trains on pictures, and what such a search is about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers._cost_models import CostModel
from searchers._expected_cost import RelaxedCost
from searchers.image_data import Dataset, load_dataset

#: Called with what an epoch or an episode left, and how far the search has come (0 to 1).
Report = Callable[[Mapping[str, Any], float], None]
#: All searches, and all networks they propose, see the same split of the pictures.
SPLIT_SEED = 0


@dataclass(frozen=True)
class Pictures:
    """A number of pictures of a data set (None: scikit-learn's digits)."""

    folder: Path | None
    images: int

    def at(self, shape: tuple[int, ...]) -> Dataset:
        """Return three quarters to train on and a quarter to judge by, for an input (batch, channels, height, width).

        Raises BadFile and UsageError for what cannot be used.
        """
        return load_dataset(self.folder, SPLIT_SEED, self.images, (shape[2], shape[3]))


@dataclass(frozen=True)
class Task:
    """What one search is about.

    `space` holds the networks that are deployed: limits (SI) are theirs. `skeleton` says which options of the space the
    networks have that are trained while searching. `factor` is what the limits are multiplied by in the search;
    `memory_bytes` what training may take (0: whatever it needs).
    """

    space: SearchSpace
    skeleton: Mapping[str, Any]
    pictures: Pictures
    limits: Mapping[str, float]
    costs: Mapping[str, RelaxedCost] = field(repr=False)
    models: tuple[CostModel, ...] = field(repr=False, default=())
    seed: int = 0
    factor: float = 1.0
    memory_bytes: int = 0

    def trained_space(self) -> SearchSpace:
        """Return the space of the networks that are trained while searching."""
        return type(self.space)(**{**self.space.options, **self.skeleton})

    @property
    def bounds(self) -> dict[str, float]:
        """Return the bounds of the search (SI)."""
        return {name: self.factor * limit for name, limit in self.limits.items()}


@dataclass(frozen=True)
class Outcome:
    """What a search proposes, best first, what its shares were in the end, and what it reported on the way.

    `cause` says why it ended early.
    """

    architectures: tuple[Architecture, ...]
    shares: tuple[tuple[float, ...], ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    cause: str | None = None


class GradientSearcher(ABC):
    """Searches a space by training on pictures.

    * Everything random comes from the task's seed: on a CPU the same task gives the same outcome bit for bit.
    * `run` keeps what it needs in its folder: stopped at any point and run again, it goes on to the same outcome.
    * Options are keyword-only arguments of the constructor with defaults of type int, float, bool or str.
    """

    #: Whether limits steer the search; else they only say which of its proposals may win.
    limited: ClassVar[bool] = False
    #: Whether it keeps `task.memory_bytes`.
    bounded: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        self.task = task

    @property
    def factors(self) -> tuple[float, ...]:
        """Return what the limits are multiplied by, one search each: a grid where one bound is not enough."""
        return (1.0,)

    @abstractmethod
    def run(self, folder: Path, report: Report) -> Outcome:
        """Search, from the beginning or from what is in the folder; raise BadFile or UsageError for what cannot be."""
