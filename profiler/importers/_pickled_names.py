"""The few names a pickle of plain data may use, with a meaning of ours: numpy's arrays and scalars, empty containers.

None of them is imported or called: an array is read from its bytes after its type and shape were checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

#: Floats, integers and truth values of up to eight bytes.
_NUMBERS = re.compile(r"[fiu][1248]|b1")
_MAX_DIMENSIONS = 4
#: What modules are called by older or newer versions of Python and numpy.
_MODULES = {"numpy._core": "numpy.core", "__builtin__": "builtins", "copy_reg": "copyreg"}

_ARRAY, _SCALAR = "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar"
_FROM_BUFFER, _DTYPE = "numpy.core.numeric._frombuffer", "numpy.dtype"
_ENCODE, _BYTES = "_codecs.encode", "builtins.bytes"  # how older protocols write bytes, and none of them
_EMPTY = ("collections.OrderedDict", "collections.defaultdict")
_OBJECT = "copyreg._reconstructor"
_ONLY_NAMES = ("numpy.ndarray", "builtins.object", "builtins.list", "builtins.dict", "builtins.int", "builtins.float")
_KNOWN = frozenset((_ARRAY, _SCALAR, _FROM_BUFFER, _DTYPE, _ENCODE, _BYTES, _OBJECT, *_EMPTY, *_ONLY_NAMES))


class Refused(Exception):
    """A pickle does what plain data do not need."""


class Facts:
    """How deep a container is, how much it holds, and whether it lies in another one: then it is finished."""

    depth = 1
    held = 1
    finished = False


@dataclass(frozen=True)
class Name:
    """The name of a class or function as it stands in a pickle; nothing is behind it."""

    module: str
    last: str

    def __str__(self) -> str:
        module = self.module
        for other, ours in _MODULES.items():
            if module == other or module.startswith(other + "."):
                module = ours + module[len(other) :]
        return f"{module}.{self.last}"


class Record(Facts):
    """An object of a class that the caller knows: its name and fields."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.fields: dict[str, Any] = {}


class PlainArray(Facts):
    """An array of numbers or truth values; empty until the pickle says what is in it."""

    def __init__(self, values: NDArray[Any] | None = None) -> None:
        self.fill(np.empty(0) if values is None else values)

    def fill(self, values: NDArray[Any]) -> None:
        """Take the values."""
        self.values = values
        self.held = 1 + values.size


@dataclass(frozen=True)
class Dialect:
    """What a format needs beside plain data, by full names: inert classes, inert names, calls, what it refers to.

    Objects of the classes `records` (last part of the name) become a Record; `calls` are given the arguments and
    `persistent` the identity that stands in the pickle, and return plain values of their own making.
    """

    records: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    calls: Mapping[str, Callable[[tuple[Any, ...]], Any]] = field(default_factory=dict)
    persistent: Callable[[Any], Any] | None = None

    def knows(self, name: Name) -> bool:
        """Return whether a name has a meaning, in this dialect or any."""
        text = str(name)
        return name.last in self.records or text in _KNOWN or text in self.names or text in self.calls


@dataclass
class _Type:
    """numpy's name of a type (`f8`) and its byte order."""

    text: str
    order: Literal["<", ">", "|", "="] = "="

    def dtype(self) -> np.dtype[Any]:
        """Return the type; raise Refused for one that is no plain number."""
        if not _NUMBERS.fullmatch(self.text):
            raise Refused(f"it holds an array of {self.text[:40]!r}, not of numbers")
        return np.dtype(self.text).newbyteorder(self.order)


def called(function: object, arguments: Any, dialect: Dialect) -> Any:
    """Return what a call of a known name stands for; raise Refused for any other call."""
    text = str(function) if isinstance(function, Name) else ""
    if not isinstance(arguments, tuple):
        raise Refused("it calls something with arguments that are no tuple")
    if text in dialect.calls:
        return dialect.calls[text](arguments)
    if text == _ARRAY:
        return PlainArray()
    if text == _SCALAR and len(arguments) == 2:
        return _scalar(*arguments)
    if text == _FROM_BUFFER and len(arguments) == 4:
        return _from_buffer(*arguments)
    if text == _DTYPE and arguments and isinstance(arguments[0], str):
        return _Type(arguments[0])
    if text == _ENCODE and len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] == "latin1":
        return arguments[0].encode("latin-1")
    if text == _BYTES and not arguments:
        return b""
    if text in _EMPTY and len(arguments) <= 1:
        return {}
    if text == _OBJECT and len(arguments) == 3:
        return new_record(arguments[0], dialect)
    raise Refused(f"it calls {text[:80] or 'something that is no function'}")


def new_record(kind: object, dialect: Dialect) -> Record:
    """Return an empty object of a class that the dialect knows; raise Refused for any other class."""
    if not isinstance(kind, Name) or kind.last not in dialect.records:
        raise Refused("it makes an object of a class that is no plain data")
    return Record(kind.last)


def built(target: object, state: Any) -> None:
    """Fill what was just made with its state; raise Refused where it was filled before or cannot be."""
    if isinstance(target, Facts) and target.finished:
        raise Refused("it changes something that lies in a container already")
    if isinstance(target, PlainArray) and not target.values.size and _is_state(state, 5):
        target.fill(_array(*state[1:5]))
    elif isinstance(target, _Type) and _is_state(state, 3) and state[1] in ("<", ">", "|", "="):
        target.order = state[1]
    elif isinstance(target, Record) and not target.fields and isinstance(state, dict):
        target.fields = {str(name): value for name, value in state.items()}
    else:
        raise Refused("it changes the state of something that is no plain data")


def _is_state(state: Any, least: int) -> bool:
    return isinstance(state, tuple) and len(state) >= least


def _array(shape: Any, kind: Any, columns_first: Any, data: Any) -> NDArray[Any]:
    if not isinstance(kind, _Type):
        raise Refused("it holds an array without a type")
    if kind.text in ("O", "O8"):
        return _of_objects(shape, data)
    return _checked(shape, kind, columns_first, data)


def _checked(shape: Any, kind: _Type, columns_first: Any, data: Any) -> NDArray[Any]:
    dtype = kind.dtype()
    sizes = _sizes(shape)
    if isinstance(data, str):  # as Python 2 wrote bytes
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray) or prod(sizes) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {sizes} does not have as many bytes as it should")
    return np.frombuffer(data, dtype).reshape(sizes, order="F" if columns_first else "C")


def _of_objects(shape: Any, data: Any) -> NDArray[Any]:
    """Return a vector of Python's numbers as numpy keeps it when one is missing."""
    items = list(data) if isinstance(data, list) else None
    if items is None or _sizes(shape) != (len(items),):
        raise Refused("it holds an array of objects")
    if not all(item is None or type(item) in (int, float) for item in items):
        raise Refused("it holds an array of objects that are no numbers")
    return np.array([np.nan if item is None else item for item in items], np.float64)


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> PlainArray:
    if not isinstance(kind, _Type) or order not in ("C", "F"):
        raise Refused("it holds an array without a type")
    return PlainArray(_checked(shape, kind, order == "F", data))


def _scalar(kind: Any, data: Any) -> int | float | bool:
    if not isinstance(kind, _Type):
        raise Refused("it holds a number without a type")
    value = _checked((), kind, False, data).item()
    if not isinstance(value, int | float):
        raise Refused("it holds a scalar that is no number")
    return value


def _sizes(shape: Any) -> tuple[int, ...]:
    sizes: Sequence[Any] = shape if isinstance(shape, tuple) else ()
    if not isinstance(shape, tuple) or len(sizes) > _MAX_DIMENSIONS:
        raise Refused("it holds an array of many dimensions")
    if not all(type(size) is int and 0 <= size < 2**31 for size in sizes):
        raise Refused("it holds an array of an impossible shape")
    return tuple(sizes)
