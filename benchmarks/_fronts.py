"""Fronts of two costs, and figures over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from searchers._figures import Figure, paired_difference


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Return the area that points (both coordinates: less is better) dominate up to a reference point."""
    area, lowest = 0.0, reference[1]
    for x, y in sorted(points):
        if x < reference[0] and y < lowest:
            area += (reference[0] - x) * (lowest - y)
            lowest = y
    return area


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Return mean and deviation."""
    found = Figure.of(values)
    return {"mean": found.mean, "sd": found.sd, "n": sum(value is not None for value in values)}


def paired(first: Sequence[float | None], second: Sequence[float | None]) -> dict[str, Any] | None:
    """Return the mean of first - second with its 95 % interval."""
    found = paired_difference(first, second)
    return None if found is None else asdict(found)
