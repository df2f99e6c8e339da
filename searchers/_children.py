"""Single networks trained while searching: shortly, to be compared, or until they are worth something.

RADARS' authors train shortly in floating point and judge the network rounded; what is promising is trained again from
scratch with rounding. Both are kept in a file of the search's folder: nothing is trained twice.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from search_spaces._torch import to_module
from searchers._records import append_text
from searchers._training import Diverged, Epoch, Recipe, Rounded, Unsuitable, train
from searchers.image_data import Dataset, Images

_LOG = logging.getLogger("hilnas.training")
#: Validation epochs whose mean is the accuracy of a short training (the authors' code).
_LAST = 5


@dataclass(frozen=True, slots=True)
class Trained:
    """Share of held-out pictures recognised (0 where training failed, with the cause), and how long it took."""

    accuracy: float
    elapsed_s: float
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network that was trained, its cost (SI) and its reward; where that failed, the cause."""

    architecture: Architecture
    accuracy: float
    cost: float
    reward: float
    cause: str | None = None


class Memo:
    """Results of one search by name, a JSON line each; a torn last line is left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                name, value = json.loads(line)
                self._known[str(name)] = dict(value)
            except (ValueError, TypeError):
                _LOG.warning("%s: skipped a torn line", path)

    def get(self, name: str) -> dict[str, Any] | None:
        """Return what is known by a name."""
        return self._known.get(name)

    def put(self, name: str, value: dict[str, Any]) -> None:
        """Keep a result."""
        self._known[name] = value
        append_text(self._path, json.dumps([name, value], allow_nan=False) + "\n")


class Children:
    """Trains networks of a space on pictures, each at most once a way."""

    def __init__(
        self, space: SearchSpace, data: Dataset, memo: Memo, *, batch: int, rate: float, augment: str, seed: int
    ) -> None:
        self._space, self._data, self._memo = space, data, memo
        self._batch, self._rate, self._augment, self._seed = batch, rate, augment, seed

    def shortly(self, architecture: Architecture, epochs: int) -> Trained:
        """Return the mean of the last accuracies of a short training in floating point, judged rounded."""
        return self._trained("short", architecture, epochs, "judged", _LAST)

    def fully(self, architecture: Architecture, epochs: int) -> Trained:
        """Return the accuracy after a training that rounds."""
        return self._trained("full", architecture, epochs, "always", 1)

    def _trained(self, way: str, architecture: Architecture, epochs: int, rounded: Rounded, last: int) -> Trained:
        name = f"{way} {epochs} {architecture.text}"
        known = self._memo.get(name)
        if known is not None:
            return Trained(**known)
        began = time.monotonic()
        curve: list[Epoch] = []
        cause = None
        try:
            curve += self._run(architecture, epochs, rounded)
        except (Diverged, Unsuitable, MemoryError, RuntimeError) as error:
            cause = f"{type(error).__name__}: {error}"[:300]
        reached = [epoch.accuracy for epoch in curve][-last:]
        found = Trained(0.0 if cause else sum(reached) / len(reached), time.monotonic() - began, cause)
        self._memo.put(name, {"accuracy": found.accuracy, "elapsed_s": found.elapsed_s, "cause": cause})
        return found

    def _run(self, architecture: Architecture, epochs: int, rounded: Rounded) -> Iterator[Epoch]:
        recipe = Recipe(epochs, self._batch, self._rate, self._augment, self._seed, "cpu")
        module = to_module(self._space.graph(architecture), seed=self._seed)
        return train(module, self._data, recipe, rounded=rounded)


def of_classes(data: Dataset, classes: int) -> Dataset:
    """Return the pictures of the first classes alone, 0: all of them."""
    if not 0 < classes < data.classes:
        return data

    def part(images: Images) -> Images:
        own = images.labels < classes
        return Images(images.images[own], images.labels[own], images.source)

    return replace(data, train=part(data.train), validation=part(data.validation), classes=classes)


def described(item: Candidate) -> dict[str, Any]:
    """Return a candidate as a JSON value."""
    return {
        "architecture": item.architecture.text,
        "accuracy": 100 * item.accuracy,
        "cost": item.cost,
        "reward": item.reward,
        "cause": item.cause,
    }


def best_first(items: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates by falling reward, of equals the earlier first, those that failed last."""
    return sorted(items, key=lambda item: (item.cause is not None, -item.reward))
