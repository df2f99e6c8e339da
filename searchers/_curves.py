"""How a study went: reward, feasible share and accuracy of the best so far, evaluation by evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile, UsageError
from profiler._workspace import Workspace
from searchers._records import StudyLog

Array = NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]
#: Evaluations over which rewards and feasibility are averaged.
WINDOW = 50


def study_curves(workspace: Workspace, study_id: str) -> dict[str, dict[str, Array]]:
    """Return title -> contender -> one value an evaluation, the mean over seeds (NaN: none), of a recorded study.

    Raises BadFile where the record makes no sense. A title that nothing is known of is left out.
    """
    log = StudyLog.open(workspace.path / "studies", study_id)
    accuracy = _accuracy(workspace, log.request.get("accuracy"))
    by_contender: dict[str, dict[int, list[Mapping[str, Any]]]] = {}
    try:
        for row in log.rows():
            by_contender.setdefault(row["searcher"], {}).setdefault(row["seed"], []).append(row)
        kinds: dict[str, Callable[[Rows], Array]] = {
            f"reward, mean of {WINDOW}": lambda rows: _moving([row["reward"] for row in rows]),
            f"feasible share of {WINDOW}": lambda rows: _moving([row["feasible"] for row in rows]),
            "accuracy of the best score so far, %": lambda rows: _incumbents(rows, accuracy),
        }
        found = {
            title: {name: _mean([curve(rows) for rows in seeds.values()]) for name, seeds in by_contender.items()}
            for title, curve in kinds.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(f"the record of the study {study_id!r} cannot be read", repr(error)) from error
    known = {
        title: {name: values for name, values in curves.items() if np.isfinite(values).any()}
        for title, curves in found.items()
    }
    return {title: curves for title, curves in known.items() if curves}


def _accuracy(workspace: Workspace, address: str | None) -> Mapping[str, float]:
    """Return the column of accuracies, empty where there is none, or none any more."""
    if address is None:
        return {}
    try:
        return workspace.store.column_at(address).values
    except UsageError:
        return {}


def _moving(values: Sequence[float | None]) -> Array:
    """Return the mean of the last `WINDOW` values up to each, fewer at the beginning; NaN for None."""
    sums = np.cumsum(np.array(values, np.float64))
    before = np.concatenate([np.zeros(min(WINDOW, len(sums))), sums[:-WINDOW]])
    return np.asarray((sums - before) / np.minimum(np.arange(1, len(sums) + 1), WINDOW))


def _incumbents(rows: Rows, accuracy: Mapping[str, float]) -> Array:
    """Return the accuracy of the feasible candidate of the highest score up to each evaluation."""
    best, own, found = -np.inf, np.nan, []
    for row in rows:
        if row["feasible"] and row.get("may_win", True) and row["score"] > best:
            best, own = row["score"], accuracy.get(row["architecture"], np.nan)
        found.append(own)
    return np.array(found)


def _mean(curves: Sequence[Array]) -> Array:
    """Return the mean of curves, of those that are long enough and have a value."""
    padded = np.full((len(curves), max(map(len, curves))), np.nan)
    for row, curve in zip(padded, curves, strict=True):
        row[: len(curve)] = curve
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing is known yet: NaN is the answer
        return np.asarray(np.nanmean(padded, axis=0))
