"""Bytes and JSON of untrusted files, limited in size, number of values and depth."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any, NoReturn

from hilnas.errors import BadFile

_HEAD = 4096
#: A value of JSON takes up to about 100 bytes once it is read.
_MAX_VALUES = 2_000_000


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the bytes of a file, unpacked where its name ends in .gz; raise BadFile for more than `limit` of them."""
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            data = file.read(limit + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadFile(f"{path} is damaged: {error}", "It was not downloaded or copied completely.") from error
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > limit:
        raise BadFile(f"{path} holds more than {limit >> 20} MiB", "No file of this format is that large.")
    return data


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file, unpacked where its name ends in .gz; nothing for one that cannot be read."""
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            return file.read(_HEAD)
    except (EOFError, zlib.error, OSError):  # BadGzipFile is an OSError
        return b""


def parse_json(data: bytes, where: str) -> Any:
    """Return a JSON value; raise BadFile, which names `where`, for anything JSON does not allow or that is too large.

    NaN and Infinity are no JSON, a name that stands twice in an object is a damaged file.
    """
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if values > _MAX_VALUES:
        raise BadFile(f"{where} holds more than {_MAX_VALUES} values")
    try:
        return json.loads(data, parse_constant=_no_constant, object_pairs_hook=_object)
    except RecursionError as error:
        raise BadFile(f"{where} is nested too deeply", "No tool writes such a file.") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise BadFile(f"{where} is no JSON: {error}", "It is damaged, or of another format.") from error


def finite(value: object, where: str) -> float:
    """Return a JSON number as a float; raise BadFile for another value and for one that is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadFile(f"{where}: {shown(value)} is no number")
    if not abs(value) < 1e300:  # an int may be too large for a float
        raise BadFile(f"{where}: {shown(value)} is too large or no number")
    return float(value)


def shown(value: object) -> str:
    """Return a value for a message: short texts and numbers as they are, of anything else what it is."""
    plain = value is None or isinstance(value, str | int | float)
    return repr(value)[:60] if plain else f"a {type(value).__name__}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice!r} stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
