"""Vectors of numbers in what other tools wrote: lists, tuples and arrays alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile
from profiler.importers._pickled_names import PlainArray


def vector_of(value: Any, where: str) -> NDArray[np.float64]:
    """Return a list, tuple or array of numbers, shape (n,), NaN for None; raise BadFile, which names it, for others."""
    if isinstance(value, PlainArray):
        value = value.values
    if isinstance(value, np.ndarray):
        if value.ndim != 1 or value.dtype.kind not in "fiu":
            raise BadFile(f"{where} is an array of {value.dtype} of shape {value.shape}, not a vector of numbers")
        return value.astype(np.float64)
    if not isinstance(value, list | tuple):
        raise BadFile(f"{where} is {_kind(value)}, not a list of numbers")
    bad = next((i for i, item in enumerate(value) if not _is_number(item)), None)
    if bad is not None:
        raise BadFile(f"{where} holds {_kind(value[bad])} at {bad}, not a number")
    return np.array([np.nan if item is None else item for item in value], np.float64)


def _kind(value: object) -> str:
    """Return what a value is; never the value, which may be large."""
    return f"a {type(value).__name__.strip('_').lower()}"


def _is_number(item: object) -> bool:
    return item is None or (isinstance(item, int | float) and not isinstance(item, bool))
