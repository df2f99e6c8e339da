"""The epochs of a differentiable search, with checkpoints: what was stopped goes on to the same result, bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hilnas.errors import BadFile, UsageError
from hilnas.records import Architecture
from searchers._augmentation import augmentations
from searchers._expected_cost import Constraints
from searchers._supernet_search import Batch, DifferentiableSearch
from searchers._torch import one_thread
from searchers._training import Diverged, tensors
from searchers.image_data import Dataset

_FORMAT = 4
CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long a search takes: epochs over the images for the weights, full batches, a rate that falls as a cosine.

    The shares rest for `warm_up` epochs. Checkpoints are written every `checkpoint_steps` steps, and after each epoch.
    """

    epochs: int
    batch: int = 64
    rate: float = 0.025
    last_rate: float = 0.001
    warm_up: int = 0
    augment: str = "crop,flip"
    seed: int = 0
    checkpoint_steps: int = 100

    def __post_init__(self) -> None:
        """Raise UsageError or UnknownName for what makes no sense."""
        augmentations(self.augment)
        if min(self.epochs, self.checkpoint_steps) < 1 or self.batch < 2 or not 0 <= self.warm_up <= self.epochs:
            raise UsageError("a search needs an epoch, a batch of two, and no more epochs of warm-up than there are")

    def steps(self, images: int) -> int:
        """Return the steps of an epoch over so many images; raise UsageError where they do not fill a batch."""
        if images < self.batch:
            raise UsageError(
                f"a batch of {self.batch} is larger than the {images} images of a part of the data",
                "Weights learn on one part of the data and shares on the other.",
                "Take a smaller batch, or more images.",
            )
        return images // self.batch

    def rate_at(self, share: float) -> float:
        """Return the learning rate of the weights after a share of all steps."""
        return self.last_rate + (self.rate - self.last_rate) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True, slots=True)
class SearchEpoch:
    """What an epoch left: mean losses (nats), mean entropy of the rows (nats), expected costs (SI), multipliers.

    `architecture` is what would be derived of the `shares`, with so many `skips`. `elapsed_s` is that of the whole
    search so far.
    """

    number: int
    training_loss: float
    validation_loss: float | None
    entropy: float
    expected: dict[str, float]
    multipliers: dict[str, float]
    architecture: Architecture
    shares: tuple[tuple[float, ...], ...]
    skips: int
    elapsed_s: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value, the architecture as its text."""
        return {item.name: getattr(self, item.name) for item in fields(self)} | {"architecture": self.architecture.text}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], parse: Callable[[str], Architecture]) -> SearchEpoch:
        """Return the epoch of a value that `to_json` returned; raise TypeError or UsageError for another."""
        shares = tuple(map(tuple, value["shares"]))
        return cls(**{**value, "architecture": parse(value["architecture"]), "shares": shares})


#: Called after every step with (steps done, all steps).
Watch = Callable[[int, int], None]


def epochs(
    search: DifferentiableSearch,
    data: Dataset,
    schedule: Schedule,
    constraints: Constraints | None = None,
    checkpoint: Path | None = None,
    watch: Watch = lambda done, of: None,
) -> Iterator[SearchEpoch]:
    """Search for the epochs of a schedule and yield each; those of a checkpoint come first, and are not searched again.

    The first part of the data teaches the weights, the held-out one the shares, in an order of its own as often as it
    takes. Raises Diverged where a loss is no finite number (the last checkpoint is kept), BadFile for a
    checkpoint of another search, UsageError for a batch larger than the data.
    """
    loop = _Loop(search, data, schedule, constraints, checkpoint, watch)
    loop.resume()
    yield from loop.done
    while loop.epoch < schedule.epochs:
        with one_thread():
            found = loop.run_epoch()
        yield found


class _Loop:
    """Where a search stands: epoch, step within it, the losses so far."""

    def __init__(
        self,
        search: DifferentiableSearch,
        data: Dataset,
        schedule: Schedule,
        constraints: Constraints | None,
        checkpoint: Path | None,
        watch: Watch,
    ) -> None:
        self._search, self._schedule, self._constraints = search, schedule, constraints
        self._checkpoint, self._watch = checkpoint, watch
        self._parts = tuple(tensors(part, data, CHANNELS, search.device) for part in (data.train, data.validation))
        self._full_batches = tuple(schedule.steps(len(labels)) for _, labels in self._parts)
        self._steps = self._full_batches[0]
        self._augment = augmentations(schedule.augment)
        self._began, self._before_s = time.monotonic(), 0.0
        self.epoch = self._step = 0
        self.done: list[SearchEpoch] = []
        self._losses: list[tuple[float, float | None]] = []

    def run_epoch(self) -> SearchEpoch:
        """Take the steps that are left of an epoch."""
        for step in range(self._step, self._steps):
            training, validation = (self._batch(part, step) for part in range(2))
            self._losses.append(self._take(training, validation, step))
            self._step = step + 1
            self._watch(self.epoch * self._steps + self._step, self._schedule.epochs * self._steps)
            if self._step % self._schedule.checkpoint_steps == 0 and self._step < self._steps:
                self._save()
        found = self._report()
        self.done.append(found)
        self.epoch, self._step, self._losses = self.epoch + 1, 0, []
        self._save()
        return found

    def _take(self, training: Batch, validation: Batch, step: int) -> tuple[float, float | None]:
        of_shares = None
        rate = self._schedule.rate_at((self.epoch * self._steps + step) / (self._schedule.epochs * self._steps))
        if self.epoch >= self._schedule.warm_up:
            penalty = None if self._constraints is None else self._constraints.penalty
            of_shares = self._search.step_in_shares(validation, training, rate, penalty)
        of_weights = self._search.step_in_weights(training, rate)
        if not all(math.isfinite(loss) for loss in (of_weights, of_shares or 0.0)):
            there = self._checkpoint is not None and self._checkpoint.exists()
            kept = f"; the last state before is kept in {self._checkpoint}" if there else ""
            raise Diverged(f"the search diverged: losses {of_weights} and {of_shares} in epoch {self.epoch + 1}{kept}")
        return of_weights, of_shares

    def _batch(self, part: int, step: int) -> Batch:
        """Return a batch of a part of the data; every time it has been gone through the order is drawn anew."""
        again, place = divmod(step, self._full_batches[part])
        order = torch.randperm(len(self._parts[part][1]), generator=self._generator(part, again, 0))
        chosen = order[place * self._schedule.batch : (place + 1) * self._schedule.batch].to(self._search.device)
        images, labels = (item[chosen] for item in self._parts[part])
        generator = self._generator(part, step, 1)
        for change in self._augment:
            images = change(images, generator)
        return images, labels

    def _generator(self, *place: int) -> torch.Generator:
        """Return random numbers of this place alone: what a step draws depends on no step before it."""
        seed = np.random.SeedSequence((self._schedule.seed, self.epoch, *place)).generate_state(1)
        return torch.Generator().manual_seed(int(seed[0]))

    def _report(self) -> SearchEpoch:
        shares = self._search.shares
        of_shares = [loss for _, loss in self._losses if loss is not None]
        limited, architecture = self._constraints, self._search.derive()
        return SearchEpoch(
            number=self.epoch + 1,
            training_loss=float(np.mean([loss for loss, _ in self._losses])),
            validation_loss=float(np.mean(of_shares)) if of_shares else None,
            entropy=float(np.mean([-(row * np.log(np.maximum(row, 1e-30))).sum() for row in shares])),
            expected={} if limited is None else limited.expected([torch.from_numpy(row) for row in shares]),
            multipliers={} if limited is None else dict(limited.multipliers),
            architecture=architecture,
            shares=tuple(tuple(row.tolist()) for row in shares),
            skips=self._search.skips(architecture),
            elapsed_s=self._elapsed_s,
        )

    @property
    def _elapsed_s(self) -> float:
        return self._before_s + time.monotonic() - self._began

    def _save(self) -> None:
        """Write where the search stands; a file is there as a whole or not at all."""
        if self._checkpoint is None:
            return
        state = {
            "format": _FORMAT,
            "search": self._search.state(),
            "multipliers": {} if self._constraints is None else dict(self._constraints.multipliers),
            "epoch": self.epoch,
            "step": self._step,
            "losses": self._losses,
            "done": [item.to_json() for item in self.done],
            "elapsed_s": self._elapsed_s,
        }
        beside = self._checkpoint.with_suffix(".new")
        torch.save(state, beside)
        beside.replace(self._checkpoint)

    def resume(self) -> None:
        """Take over the checkpoint, where there is one."""
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        try:
            state: dict[str, Any] = torch.load(self._checkpoint, weights_only=True, map_location="cpu")
            if state["format"] != _FORMAT:
                raise ValueError(f"format {state['format']}")
            self._search.load_state(state["search"])
            if self._constraints is not None:
                self._constraints.multipliers = {
                    name: float(state["multipliers"][name]) for name in self._constraints.multipliers
                }
            self.epoch, self._step = int(state["epoch"]), int(state["step"])
            self._losses = [(loss, other) for loss, other in state["losses"]]
            self.done = [SearchEpoch.from_json(item, self._search.parse) for item in state["done"]]
            self._before_s, self._began = float(state["elapsed_s"]), time.monotonic()
        except Exception as error:  # whatever a damaged file makes of torch's reader
            raise BadFile(
                f"{self._checkpoint} is no checkpoint of this search",
                f"{type(error).__name__}: {str(error)[:200]}",
                "Name another file, or take this one away to begin anew.",
            ) from error
