"""Differentiable search in a space of cells: one supernet, trained for some epochs under bounds on what is derived."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from hilnas.errors import UsageError
from search_spaces._supergraph import SupernetSpace
from searchers._expected_cost import Constraints
from searchers._supernet_search import Arithmetic, Method, SupernetSearch
from searchers._supernet_training import Schedule, SearchEpoch, epochs
from searchers._torch import checked_device
from searchers._training import Diverged
from searchers.image_data import VALIDATION_SHARE
from searchers.supernets._base import GradientSearcher, Outcome, Report, Task


class CellSearcher(GradientSearcher):
    """Trains the supernet of a method and derives the architecture of its strongest shares.

    epochs, batch, rate, last_rate, augment: of the weights, trained by SGD. warm_up: epochs in which the shares rest
    (-1: the authors' part of all). share_rate: of Adam in the logits (0: so that they can move as far as in as many
    steps as the authors took). most_skips: the search stops before an epoch that would leave more (0: it never does).
    device: cpu or cuda. mixed_precision and channels_last: of the arithmetic.
    """

    method: ClassVar[Method]
    #: The authors' part of all epochs in which the shares rest, and their steps in the shares.
    resting: ClassVar[float] = 0.0
    authors_steps: ClassVar[int]

    def __init__(
        self,
        task: Task,
        *,
        epochs: int = 10,
        batch: int = 64,
        rate: float = 0.025,
        last_rate: float = 0.001,
        augment: str = "crop",
        warm_up: int = -1,
        share_rate: float = 0.0,
        multiplier_rate: float = 0.05,
        most_skips: int = 0,
        device: str = "cpu",
        mixed_precision: bool = False,
        channels_last: bool = False,
        checkpoint_steps: int = 50,
    ) -> None:
        super().__init__(task)
        if not isinstance(task.space, SupernetSpace):
            raise UsageError(
                f"{task.space.name} has no supernet of cells",
                "",
                "Search darts or nasbench201, or sample: random_search",
            )
        if min(share_rate, multiplier_rate, most_skips) < 0 or not 0 < last_rate <= rate:
            raise UsageError("a search of cells needs rates above 0, and a last rate not above the first")
        resting = round(self.resting * epochs) if warm_up < 0 else warm_up
        self._schedule = Schedule(epochs, batch, rate, last_rate, resting, augment, task.seed, checkpoint_steps)
        self._schedule.steps(round(VALIDATION_SHARE * task.pictures.images))  # of the smaller part
        self._share_rate, self._multiplier_rate, self._most_skips = share_rate, multiplier_rate, most_skips
        self._arithmetic = Arithmetic(checked_device(device), mixed_precision, channels_last)

    def chosen_method(self) -> Method:
        """Return the method with the options that change it."""
        return self.method

    def run(self, folder: Path, report: Report) -> Outcome:
        """Train for the epochs of the schedule; a search that diverges proposes what its last whole epoch left."""
        space = self.task.trained_space()
        assert isinstance(space, SupernetSpace)
        data = self.task.pictures.at(space.input_shape)
        method = replace(self.chosen_method(), share_rate=self._rate_of_shares(len(data.train.labels)))
        search = SupernetSearch(space, method, self.task.seed, self._arithmetic)
        rate = self._multiplier_rate if self.limited else 0.0
        constraints = Constraints(self.task.costs, self.task.bounds, rate)
        found: list[SearchEpoch] = []
        cause = None
        try:
            for epoch in epochs(search, data, self._schedule, constraints, folder / "checkpoint.pt"):
                if 0 < self._most_skips < epoch.skips and found:
                    cause = f"stopped: epoch {epoch.number} would leave {epoch.skips} skips"
                    break
                found.append(epoch)
                report(_reported(epoch), epoch.number / self._schedule.epochs)
        except Diverged as error:
            cause = str(error)
        if not found:
            return Outcome((), cause=cause)
        return Outcome((found[-1].architecture,), found[-1].shares, tuple(map(_reported, found)), cause)

    def _rate_of_shares(self, images: int) -> float:
        if self._share_rate:
            return self._share_rate
        steps = max(1, (self._schedule.epochs - self._schedule.warm_up) * self._schedule.steps(images))
        return self.method.share_rate * max(1.0, self.authors_steps / steps)


def _reported(epoch: SearchEpoch) -> dict[str, Any]:
    """Return what there is to tell about an epoch."""
    return {name: value for name, value in epoch.to_json().items() if name != "shares"}
