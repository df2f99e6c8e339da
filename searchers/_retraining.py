"""What the winners of a search are worth: trained from scratch, as they are deployed, and tested once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from hilnas.records import Architecture
from profiler._campaign import Progress
from search_spaces._base import SearchSpace
from searchers._figures import Figure, paired_difference
from searchers._request import Setup
from searchers._search import Studies
from searchers._training import Diverged, Recipe, Unsuitable, train
from searchers.image_data import Dataset, Images, load_rest
from searchers.supernets._base import SPLIT_SEED, Pictures

_MOST_TESTED = 10_000
_BATCH, _RATE, _AUGMENT = 64, 0.1, "crop"


def retrain_winners(setup: Setup, studies: Studies, progress: Progress) -> dict[str, Any]:
    """Return test accuracies (percent) of the winner of every seed, by contender, and their paired difference.

    All are trained alike, on every picture that was searched with, and tested on pictures that chose nothing. None:
    nothing kept the limits, or training failed. Raises UsageError where no picture is left to test with.
    """
    if setup.pictures is None:
        raise ValueError("there are no pictures to train on")
    pictures, epochs = setup.pictures.pictures, setup.request.train_winner
    classes = pictures.at(setup.space.input_shape).classes
    options = dict(setup.space.options)
    space = type(setup.space)(**({**options, "classes": classes} if "classes" in options else options))
    data = tested_data(pictures, space.input_shape)
    known: dict[Architecture, float | None] = {}
    by_name: dict[str, list[float | None]] = {}
    for name, found in studies.by_name.items():
        for study in found:
            winner = None if study.winner is None else study.winner.architecture
            progress(0, 0, f"training the winner of {name}, seed {study.problem.seed}")
            if winner is not None and winner not in known:
                known[winner] = accuracy_of(space, winner, data, epochs, setup.request.seed)
            by_name.setdefault(name, []).append(None if winner is None else known[winner])
    own = by_name[studies.searcher]
    return {
        "epochs": epochs,
        "trained_on": len(data.train.labels),
        "tested_on": len(data.validation.labels),
        "accuracy": {name: _figure(values) for name, values in by_name.items()},
        "difference": {
            name: None if (between := paired_difference(own, values)) is None else asdict(between)
            for name, values in by_name.items()
            if name != studies.searcher
        },
    }


def tested_data(pictures: Pictures, shape: tuple[int, ...]) -> Dataset:
    """Return all pictures that were searched with to train on, and others to judge by."""
    data = pictures.at(shape)
    rest = load_rest(pictures.folder, SPLIT_SEED, pictures.images, (shape[2], shape[3]), _MOST_TESTED)
    return replace(data, train=_joined(data.train, data.validation), validation=rest)


def _joined(first: Images, second: Images) -> Images:
    return Images(
        np.concatenate([first.images, second.images]), np.concatenate([first.labels, second.labels]), first.source
    )


def accuracy_of(space: SearchSpace, architecture: Architecture, data: Dataset, epochs: int, seed: int) -> float | None:
    """Return the accuracy (percent) after so many epochs from scratch, None where training fails."""
    recipe = Recipe(epochs, min(_BATCH, len(data.train.labels)), _RATE, _AUGMENT, seed, "cpu")
    try:
        (*_, last) = train(space.module(architecture, seed), data, recipe)
    except (Diverged, Unsuitable):
        return None
    return 100 * last.accuracy


def _figure(values: list[float | None]) -> Mapping[str, Any]:
    return asdict(Figure.of(values))
