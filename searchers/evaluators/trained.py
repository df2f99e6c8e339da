"""Scores by training: a few epochs on images of the user's, judged by images that were held out.

One network is trained for all architectures of a canonical form, with the same seed, images and order of images: a
score depends on nothing but the architecture and the options.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from search_spaces._graph import Graph
from search_spaces._torch import to_module
from searchers._learning_curves import power_law
from searchers._options import option_defaults, read_options, split_pairs
from searchers._torch import checked_device
from searchers._training import Diverged, Epoch, Recipe, Unsuitable, train
from searchers.evaluators._base import Evaluator, Score
from searchers.evaluators._forms import first_of_form
from searchers.evaluators._trainings import Training, TrainingCache
from searchers.image_data import Dataset, load_dataset

_LOG = logging.getLogger("hilnas.training")
#: Options of the space, where it has them, that the trained network has unless it is asked otherwise.
_PROXY: Mapping[str, Any] = {"depth": 1, "resolution": 16}
#: One-sided 95 % of the normal distribution.
_CERTAIN = 1.645


class Trained(Evaluator):
    """Validation accuracy after partial training; docs/training.md says what the options do.

    `proxy` holds options of the space that the trained network has instead of the real one's, as for an indicator;
    `classes` follows the data where the space has that option. `cache` is the folder for trainings on disk.
    """

    unit = "percent"
    cost = "a few epochs of training: seconds to minutes an architecture"

    def __init__(
        self,
        space: SearchSpace,
        *,
        data: str = "",
        images: int = 2000,
        epochs: int = 4,
        horizon: int = 0,
        batch: int = 64,
        learning_rate: float = 0.1,
        augment: str = "crop",
        stop: bool = True,
        reference: int = 0,
        seed: int = 0,
        device: str = "cpu",
        proxy: Mapping[str, Any] | None = None,
        cache: Path | None = None,
    ) -> None:
        """Read the images; raise UsageError or BadFile where they or the options are of no use."""
        super().__init__(space)
        if epochs < 1 or images < 4 or min(reference, seed) < 0 or 0 != horizon < epochs:
            raise UsageError(
                "the options of trained do not go together",
                f"epochs={epochs}, horizon={horizon}, images={images}, reference={reference}, seed={seed}",
                "Take 1 epoch and 4 images or more, a horizon of 0 or not below epochs, and no negative number.",
            )
        self._folder = Path(data).expanduser() if data else None
        self._images, self._epochs, self._seed = images, epochs, seed
        self._stop, self._reference = stop, reference
        self._recipe = Recipe(horizon or epochs, batch, learning_rate, augment, seed, checked_device(device))
        self._datasets: dict[tuple[int, ...], Dataset] = {}
        options = dict(space.options)
        options |= {name: value for name, value in _PROXY.items() if name in options} | dict(proxy or {})
        self._data = self._dataset(type(space)(**options).input_shape)
        self._recipe.steps(len(self._data.train.labels))
        if "classes" in options and "classes" not in (proxy or {}):
            options["classes"] = self._data.classes
        self._scored = type(space)(**options)
        self._cache = TrainingCache(cache, self.describe())

    @classmethod
    def asked(cls, space: SearchSpace, pairs: Sequence[str], cache: Path | None) -> Trained:
        """Return the evaluator of `NAME=VALUE` texts, options of its own or of the space; raise UsageError."""
        own = {name: default for name, default in option_defaults(cls).items() if default is not None}
        given = read_options(split_pairs(pairs), {**space.options, **own}, "trained")
        proxy = {name: value for name, value in given.items() if name not in own}
        return cls(space, proxy=proxy, cache=cache, **{name: given[name] for name in given.keys() & own.keys()})

    def describe(self) -> dict[str, Any]:
        """Return the recipe, the data by name and content, and the space with the options of what is trained."""
        recipe = self._recipe
        return {
            "score": "trained",
            "data": self._data.train.source,
            "data_sha256": self._data.fingerprint,
            "images": len(self._data.train.labels),
            "held_out": len(self._data.validation.labels),
            "epochs": self._epochs,
            "horizon": recipe.horizon,
            "batch": recipe.batch,
            "learning_rate": recipe.learning_rate,
            "augment": recipe.augment,
            "stop": self._stop,
            "reference": self._reference,
            "seed": self._seed,
            "device": recipe.device,
            "space": self.space.name,
            "space_options": dict(self._scored.options),
        }

    def training(self, architecture: Architecture) -> Training:
        """Return the training that an architecture's score comes from; train where there was none yet."""
        return self._trained(architecture, self._least)

    def _scores(self, architectures: Sequence[Architecture]) -> list[Score]:
        return [self._score(self.training(item)) for item in architectures]

    def _score(self, training: Training) -> Score:
        if training.cause is not None:
            return Score.missing(training.cause)
        # Of a training that was given up only what it reached is known: it shall not be scored for more.
        last = len(training.accuracies) if training.stopped else self._recipe.horizon
        return Score.of(100 * power_law(training.accuracies, last))

    def _trained(self, architecture: Architecture, least: float) -> Training:
        form = self.space.canonical(architecture)
        found = self._cache.get(form)
        if found is None:
            found = self._train(self._first_of_form.get(form, architecture), least)
            self._cache.put(form, found)
        return found

    def _train(self, architecture: Architecture, least: float) -> Training:
        epochs: list[Epoch] = []
        stopped = cause = None
        began = time.monotonic()
        try:
            stopped = self._run(architecture, least, epochs)
        except (Diverged, Unsuitable, torch.OutOfMemoryError) as error:
            cause = str(error)
        except Exception as error:
            if not self._scored.traced:
                raise
            cause = f"training failed: {type(error).__name__}: {error}"  # a module of the user's may raise anything
        curve = [(epoch.accuracy, epoch.loss) for epoch in epochs]
        accuracies, losses = tuple(item[0] for item in curve), tuple(item[1] for item in curve)
        # What failed took its time as well: whoever trains for as long as somebody else must come to an end.
        elapsed_s = epochs[-1].elapsed_s if cause is None else time.monotonic() - began
        _LOG.info("%s: %s after %d epochs, %.1f s", architecture, cause or stopped or "trained", len(epochs), elapsed_s)
        return Training(architecture.text, accuracies, losses, elapsed_s, stopped, cause and cause[:500])

    def _run(self, architecture: Architecture, least: float, epochs: list[Epoch]) -> str | None:
        """Train and append each epoch to `epochs`; return why it was stopped early, None where it was not."""
        graph = self._scored.graph(architecture)
        if len(graph.input.shape) != 4:
            raise Unsuitable(f"its input has the shape {graph.input.shape}, which is none of images")
        data = self._dataset(graph.input.shape)
        module = self._module(architecture, graph)
        for epoch in train(module, data, self._recipe, graph.input.shape[1]):
            epochs.append(epoch)
            reached = f"epoch {len(epochs)}, {epoch.accuracy:.1%}, {epoch.elapsed_s:.1f} s"
            _LOG.debug("%s: %s", architecture, reached)
            if len(epochs) == self._epochs:
                break
            if self._stop and len(epochs) == self._rung and epoch.accuracy <= least:
                return f"stopped: {epoch.accuracy:.1%} is not above {least:.1%}"
        return None

    def _module(self, architecture: Architecture, graph: Graph) -> nn.Module:
        if self._scored.traced:
            return self._scored.module(architecture, self._seed)
        return to_module(graph.without_dead(), seed=self._seed)

    @property
    def _rung(self) -> int:
        """Return after how many epochs it is asked whether a candidate is hopeless: half of them."""
        return (self._epochs + 1) // 2

    @cached_property
    def _least(self) -> float:
        """Return the accuracy a candidate must exceed at the rung.

        The median of networks drawn by the seed, so that it does not depend on what was searched before; they are
        trained first, and stopped themselves only where they do not exceed chance.
        """
        chance = _chance(self._data.validation.labels)
        if not (self._stop and self._reference):
            return chance
        drawn = self.space.sample_distinct(self._reference, self._seed)
        curves = [self._trained(item, chance).accuracies for item in drawn if not self._cause(item)]
        reached = [curve[self._rung - 1] for curve in curves if len(curve) >= self._rung]
        return max(chance, median(reached)) if reached else chance

    def _dataset(self, shape: tuple[int, ...]) -> Dataset:
        """Return the images at a network's input size, as they are stored where that is none of images."""
        size = (shape[2], shape[3]) if len(shape) == 4 else None
        key = shape[2:]
        if key not in self._datasets:
            self._datasets[key] = load_dataset(self._folder, self._seed, self._images, size)
        return self._datasets[key]

    @cached_property
    def _first_of_form(self) -> dict[str, Architecture]:
        return first_of_form(self.space)


def _chance(labels: NDArray[np.int64]) -> float:
    """Return the accuracy that naming the most frequent class exceeds in one of twenty draws of so many images."""
    share = float(np.bincount(labels).max()) / len(labels)
    return share + _CERTAIN * math.sqrt(share * (1 - share) / len(labels))
