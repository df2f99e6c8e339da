"""Units of columns: from the name, or from the user; never guessed."""

from __future__ import annotations

from hilnas.errors import UnknownName, UsageError

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
    "kib": ("bytes", 2.0**10),
    "mib": ("bytes", 2.0**20),
    "percent": ("percent", 1.0),
    "none": ("none", 1.0),
}

#: Endings of column names that are a unit; `percent` and `none` must be said.
_ENDINGS = ("ns", "us", "ms", "s", "uj", "mj", "j")


def unit_of(column: str, unit: str | None, column_units: dict[str, str]) -> str:
    """Return the unit of a column: said for the column, else the name's ending, else said for the rest.

    Raises UsageError when none of them tells, and UnknownName for a unit that is not there.
    """
    said = column_units.get(column)
    ending = column.rsplit("_", 1)[-1].lower() if "_" in column else ""
    found = said or (ending if ending in _ENDINGS else unit)
    if found is None:
        raise UsageError(
            f"the unit of the column {column!r} is not known",
            "Its name does not end in one (_ms, _mj, _s).",
            f"Say it: --unit {column}=ms, or --unit ms for all columns without one (none: a plain score)",
        )
    if found.lower() not in COLUMN_UNITS:
        raise UnknownName("unit", found, COLUMN_UNITS)
    return found.lower()
