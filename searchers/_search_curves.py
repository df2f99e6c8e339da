"""How searches on pictures went, from the answer of a study: epoch by epoch, and what bounds led to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler._metrics import stored_names
from searchers._reach import shown

Array = NDArray[np.float64]
_FIELDS = {
    "training_loss": "training loss, nats",
    "validation_loss": "validation loss, nats",
    "entropy": "mean entropy of the shares, nats",
    "skips": "skips in what would be derived",
}
#: Titles of the curves over epochs.
EPOCHS = tuple(_FIELDS.values())


def epoch_curves(answer: Mapping[str, Any]) -> dict[str, dict[str, Array]]:
    """Return title -> search -> one value an epoch; nothing for studies without epochs."""
    searches = answer.get("searches", [])
    found: dict[str, dict[str, Array]] = {}
    for field, title in _FIELDS.items():
        curves = {_name(item, searches): _values(item["history"], field) for item in searches}
        known = {name: values for name, values in curves.items() if np.isfinite(values).any()}
        if known:
            found[title] = known
    return found


def lookup_graphs(
    answer: Mapping[str, Any],
) -> list[tuple[str, tuple[str, str], dict[str, list[tuple[float, float]]], float]]:
    """Return the lookup graph of every limit: title, axes, points by name, the limit; only of several bounds.

    A point is what a bound (its first coordinate) led to: the expected cost, and the real one of what was derived.
    """
    searches = answer.get("searches", [])
    found = []
    for item in answer.get("constraints", []):
        metric, stored = item["metric"], stored_names()[item["metric"]]
        points: dict[str, list[tuple[float, float]]] = {"expected": [], "derived": [], "within the limits": []}
        for one in searches:
            bound = one["bounds"].get(stored)
            if bound is None:
                continue
            points["expected"] += [(bound, one["expected"][stored])] if stored in one["expected"] else []
            costs = [(bound, own[stored]) for own in one["derived"] if own.get(stored) is not None]
            points["derived"] += costs[:1]
            points["within the limits"] += costs[1:]
        if len({bound for bound, _ in points["derived"]}) > 1:
            title = f"lookup graph of {metric}, limit {shown(metric, item['limit'])}"
            found.append(
                (title, ("bound of the search", stored), {k: v for k, v in points.items() if v}, item["limit"])
            )
    return found


def _name(item: Mapping[str, Any], searches: Sequence[Mapping[str, Any]]) -> str:
    several = len({one["factor"] for one in searches}) > 1
    return f"seed {item['seed']}, bounds x {item['factor']:g}" if several else f"seed {item['seed']}"


def _values(history: Sequence[Mapping[str, Any]], field: str) -> Array:
    return np.array([np.nan if row.get(field) is None else row[field] for row in history], np.float64)
