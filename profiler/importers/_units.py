"""Units of columns: from the name, from the format, or from the user; never guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile, UnknownName, UsageError
from profiler.importers._base import ImportRequest

#: Unit -> (dimension, factor to SI). Percent stays percent; `none` is a plain number.
COLUMN_UNITS: dict[str, tuple[str, float]] = {
    "ns": ("time", 1e-9),
    "us": ("time", 1e-6),
    "ms": ("time", 1e-3),
    "s": ("time", 1.0),
    "uj": ("energy", 1e-6),
    "mj": ("energy", 1e-3),
    "j": ("energy", 1.0),
    "b": ("bytes", 1.0),
    "bytes": ("bytes", 1.0),
    "kib": ("bytes", 2.0**10),
    "mib": ("bytes", 2.0**20),
    "percent": ("percent", 1.0),
    "fraction": ("percent", 100.0),
    "none": ("none", 1.0),
}

#: Endings of column names that are a unit; `percent`, `fraction` and `none` must be said.
ENDINGS = ("ns", "us", "ms", "s", "uj", "mj", "j", "bytes")


def unit_of(column: str, unit: str | None, column_units: Mapping[str, str]) -> str:
    """Return the unit of a column: said for the column, else the name's ending, else said for the rest.

    Raises UsageError when none of them tells, and UnknownName for a unit that is not there.
    """
    said = column_units.get(column)
    ending = column.rsplit("_", 1)[-1].lower() if "_" in column else ""
    found = said or (ending if ending in ENDINGS else unit)
    if found is None:
        raise UsageError(
            f"the unit of the column {column!r} is not known",
            "Its name does not end in one (_ms, _mj, _s).",
            f"Say it: --unit {column}=ms, or --unit ms for all columns without one (none: a plain score)",
        )
    return _known(found)


def said_unit(request: ImportRequest, column: str, usual: str | None) -> str:
    """Return the unit of a column whose format says it (`usual`), or says none: then the user must.

    Raises UsageError where the user's --unit contradicts the format; --unit COLUMN=UNIT has the last word.
    """
    if column in request.column_units or usual is None:
        return unit_of(column, request.unit, request.column_units)
    if request.unit is not None and _known(request.unit) != usual:
        raise UsageError(
            f"{request.path} is in {usual} by its format, not in {request.unit}",
            f"The column is {column!r}.",
            f"If this file differs, say it for the column: --unit {column}={request.unit}",
        )
    return usual


def in_si(values: Sequence[float] | NDArray[np.float64], unit: str, column: str, path: Path) -> NDArray[np.float64]:
    """Return values of a column in SI, NaN for what is missing; raise BadFile for values that the unit cannot have."""
    dimension, factor = COLUMN_UNITS[unit]
    found = np.asarray(values, np.float64) * factor
    if np.isinf(found).any():
        raise BadFile(f"{path}: the column {column!r} holds a number too large for a float")
    if dimension in ("time", "energy", "bytes", "percent") and (found < 0).any():
        raise BadFile(
            f"{path}: the column {column!r} ({unit}) holds a negative value",
            "A value that is missing is an empty cell; a column that may be negative has the unit none.",
        )
    if dimension == "percent" and (found > 100.0 + 1e-6).any():
        raise BadFile(
            f"{path}: the column {column!r} ({unit}) holds a value above 100 %",
            "It is in another unit.",
            f"Say it: --unit {column}=percent, {column}=fraction (0 to 1) or {column}=none (a plain score)",
        )
    return found


def dimension_of(unit: str) -> str:
    """Return the dimension of a unit."""
    return COLUMN_UNITS[unit][0]


def needed_columns(request: ImportRequest, columns: Sequence[str]) -> None:
    """Raise UsageError for a --unit or --batch of a column that is not there."""
    for name in (*request.column_units, *request.column_batches):
        if name not in columns:
            shown = ", ".join(columns[:40])
            raise UsageError(f"{request.path} has no column {name!r}", f"It has: {shown}.")


def number_of(text: str | float) -> float:
    """Return a finite number, of a text as well; raise ValueError for anything else."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


def _known(unit: str) -> str:
    if unit.lower() not in COLUMN_UNITS:
        raise UnknownName("unit", unit, COLUMN_UNITS)
    return unit.lower()
