"""Quantities with units, parsed once at the border; everything inside is SI."""

from __future__ import annotations

import math
import re

from hilnas.errors import UsageError

#: Dimension -> unit -> factor to SI. `count` serves MACs, parameters and AOPS; `percent` stays in percent.
UNITS: dict[str, dict[str, float]] = {
    "time": {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0},
    "energy": {"uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0},
    "bytes": {
        "B": 1.0,
        "kB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
    },
    "count": {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9},
    "percent": {"%": 1.0},
    "rate": {"/s": 1.0, "/min": 1 / 60, "Hz": 1.0},
    "power": {"mW": 1e-3, "W": 1.0},
}

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ%/]*)\s*", re.ASCII)


def parse_quantity(text: str, dimension: str) -> float:
    """Return the SI value of a text such as `12ms`; raise UsageError without a unit or with a foreign one."""
    units = UNITS[dimension]
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a quantity", "A number and a unit are expected.", _example(text, dimension))
    number, unit = float(match[1]), match[2]
    if unit not in units:
        cause = f"{unit!r} is no unit of {dimension}." if unit else f"A {dimension} needs a unit."
        raise UsageError(f"cannot read the quantity {text!r}", cause, _example(match[1], dimension))
    value = number * units[unit]
    if not math.isfinite(value) or value < 0:
        raise UsageError(f"the quantity {text!r} is not a finite, non-negative number")
    return value


_EXAMPLE_UNITS = {
    "time": "ms",
    "energy": "mJ",
    "bytes": "MiB",
    "count": "M",
    "percent": "%",
    "rate": "/s",
    "power": "W",
}


def _example(number: str, dimension: str) -> str:
    unit = _EXAMPLE_UNITS[dimension]
    known = ", ".join(name for name in UNITS[dimension] if name)
    shown = number if _QUANTITY.fullmatch(number + unit) else "25"
    return f"Write {shown}{unit} (units: {known})."


def format_seconds(value_s: float) -> str:
    """Return a time for the screen, in milliseconds."""
    return f"{value_s * 1e3:.4g} ms"


def format_count(value: float) -> str:
    """Return a count for the screen with an SI prefix."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.4g} {prefix}"
    return f"{value:.4g}"


def format_value(value: float, dimension: str) -> str:
    """Return an SI value for the screen: ms, mJ, MiB, W, counts with a prefix; other dimensions as plain numbers."""
    if dimension == "count":
        return format_count(value)
    factor, unit = _SHOWN.get(dimension, (1.0, ""))
    return f"{value * factor:.4g} {unit}".rstrip()


_SHOWN = {
    "time": (1e3, "ms"),
    "energy": (1e3, "mJ"),
    "bytes": (2.0**-20, "MiB"),
    "power": (1.0, "W"),
    "rate": (1.0, "Hz"),
}
