"""The contract of a zero-cost indicator: a number from an untrained network that shall rank trained accuracy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from search_spaces._graph import Graph

if TYPE_CHECKING:
    from torch import nn

#: Makes a network's module, in training mode, with the weights of a seed.
Build = Callable[[int], "nn.Module"]


class Indicator(ABC):
    """Scores one network; higher is better.

    The constructor takes keyword options with defaults of type int, float, bool or str; everything random comes from
    the option `seed`, so that the same graph always gives the same number.
    """

    #: What one score takes, in words.
    cost: str
    #: Options of the space, where it has and takes them, that the scored network has instead of the real one's: a
    #: shallow network costs a fraction and ranks as well.
    proxy: ClassVar[Mapping[str, Any]] = {}

    #: Whether architectures of one canonical form share a score. They train alike, but may differ in cost: a branch
    #: may be dead, or computed once and used twice.
    shared: ClassVar[bool] = True

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what a score depends on beside the graph, as a JSON value; `type(self)(**settings)` is the same."""
        return {}

    @property
    def fingerprint(self) -> str:
        """Return what changes when files that the settings name do; nothing where they name none."""
        return ""

    @abstractmethod
    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return the score of a network whose output depends on its input; not finite where there is none.

        `build` makes its module where the graph was traced and cannot.
        """
