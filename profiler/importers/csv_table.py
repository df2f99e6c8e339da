"""CSV or CSV.gz with a header row: one row an architecture, numeric columns become table columns.

An architecture is named by `arch_str`, by `index` (resolved through a table that has both), or by `op_01 ... op_NN`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from hilnas.errors import BadFile, UsageError
from profiler._plan import load_space
from profiler._table_records import Column, ReferenceTable
from profiler.importers._base import Importer, ImportRequest
from profiler.importers._units import COLUMN_UNITS, unit_of

_MAX_BYTES = 512 * 2**20
_MAX_ROWS = 2_000_000
_OPERATION = re.compile(r"op_\d\d")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NOT_A_NUMBER = {"nan", "inf", "-inf", "+inf", "infinity", "-infinity", "none", "null", "na", "n/a"}


class CsvTable(Importer):
    """Reads comma-separated tables."""

    def accepts(self, path: Path) -> bool:
        """Return whether the name ends in .csv or .csv.gz."""
        return path.name.lower().endswith((".csv", ".csv.gz"))

    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return the table; see the contract."""
        data = _bytes_of(request.path)
        header, rows = _rows_of(data, request.path)
        cells = {name: [row[i].strip() for row in rows] for i, name in enumerate(header)}
        if unknown := sorted(set(request.column_units) - set(header)):
            raise UsageError(f"{request.path} has no column {unknown[0]!r}", f"It has: {', '.join(header)}.")
        architectures, used = _architectures(cells, request, index_to_architecture)
        indices = _indices(cells["index"], request.path) if "index" in cells else None
        columns = tuple(_column(name, cells[name], request) for name in header if name not in used)
        if not any(column.values is not None for column in columns):
            raise BadFile(
                f"{request.path} has no numeric column besides the architecture", f"It has: {', '.join(header)}."
            )
        digest = hashlib.sha256(data).hexdigest()
        return ReferenceTable(request.name, request.space, request.path.name, digest, architectures, indices, columns)


def _bytes_of(path: Path) -> bytes:
    """Return the unpacked bytes of a file, at most `_MAX_BYTES`."""
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadFile(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > _MAX_BYTES:
        raise BadFile(f"{path} holds more than {_MAX_BYTES >> 20} MiB")
    return data


def _rows_of(data: bytes, path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        text = data.decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"{path} is no CSV in UTF-8: {error}") from error
    if len(rows) < 2:
        raise BadFile(f"{path} has no rows", "A header row and at least one row are expected.")
    if len(rows) > _MAX_ROWS:
        raise BadFile(f"{path} has more than {_MAX_ROWS} rows")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header) or "" in header:
        raise BadFile(f"{path}: the header has an empty name or one twice", ", ".join(header)[:300])
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise BadFile(f"{path}, row {number}: {len(row)} cells where the header has {len(header)}")
    return header, rows[1:]


def _architectures(
    cells: Mapping[str, Sequence[str]], request: ImportRequest, index_to_architecture: Mapping[int, str]
) -> tuple[tuple[str, ...], set[str]]:
    """Return the canonical texts and the columns that named them."""
    operations = sorted(name for name in cells if _OPERATION.fullmatch(name))
    if "arch_str" in cells:
        texts = _parsed(cells["arch_str"], request)
        used = {"arch_str", "index"}
    elif request.space == "fbnet" and operations:
        texts = ["fbnet:" + "|".join(row) for row in zip(*(cells[name] for name in operations), strict=True)]
        used = {*operations, "index"}
    elif "index" in cells:
        texts = _resolved(_indices(cells["index"], request.path), request, index_to_architecture)
        used = {"index"}
    else:
        raise BadFile(
            f"{request.path} does not name its architectures",
            f"It has neither a column arch_str nor index, only: {', '.join(cells)[:300]}.",
        )
    twice = _first_twice(texts)
    if twice is not None:
        raise BadFile(f"{request.path} has the architecture {twice!r} twice")
    return tuple(texts), used


def _parsed(texts: Sequence[str], request: ImportRequest) -> list[str]:
    space = load_space(request.space)
    found = []
    for number, text in enumerate(texts, start=2):
        try:
            found.append(space.parse(text).text)
        except UsageError as error:
            raise BadFile(f"{request.path}, row {number}: {error.what}", error.cause) from error
    return found


def _resolved(indices: Sequence[int], request: ImportRequest, known: Mapping[int, str]) -> list[str]:
    missing = [index for index in indices if index not in known]
    if missing:
        raise BadFile(
            f"{request.path} names its architectures by index alone, and {len(missing)} of them cannot be resolved",
            f"No imported table of {request.space!r} has both index and arch_str for them (first: {missing[0]}).",
            "Import such a table first, then this one: hilnas data import FILE_WITH_BOTH --as NAME --space "
            + request.space,
        )
    return [known[index] for index in indices]


def _indices(cells: Sequence[str], path: Path) -> tuple[int, ...]:
    try:
        found = tuple(int(cell) for cell in cells)
    except ValueError as error:
        raise BadFile(f"{path}: the column index holds something else than whole numbers: {error}") from error
    if min(found) < 0 or max(found) > 2**53 or len(set(found)) != len(found):
        raise BadFile(f"{path}: the column index holds a negative number or one twice")
    return found


def _column(name: str, cells: Sequence[str], request: ImportRequest) -> Column:
    """Return one column: numbers in SI with NaN for empty cells, or texts."""
    bad = next((number for number, cell in enumerate(cells, start=2) if cell.lower() in _NOT_A_NUMBER), None)
    filled = [cell for cell in cells if cell]
    numeric = [cell for cell in filled if _NUMBER.fullmatch(cell)]
    if bad is not None and numeric:
        raise BadFile(
            f"{request.path}, row {bad}: {cells[bad - 2]!r} in the column {name!r} is no number",
            "A value that is missing is an empty cell.",
        )
    if not filled or len(numeric) < len(filled):
        _no_stray_text(name, cells, len(numeric), request)
        return Column(name, "text", "", texts=tuple(cells))
    unit = unit_of(name, request.unit, dict(request.column_units))
    dimension, factor = COLUMN_UNITS[unit]
    values = np.array([float(cell) if cell else math.nan for cell in cells], np.float64) * factor
    if np.isinf(values).any():
        raise BadFile(f"{request.path}: the column {name!r} holds a number too large for a float")
    if dimension in ("time", "energy", "bytes") and (values < 0).any():
        raise BadFile(f"{request.path}: the column {name!r} ({unit}) holds a negative value")
    return Column(name, dimension, unit, values=values)


def _no_stray_text(name: str, cells: Sequence[str], n_numeric: int, request: ImportRequest) -> None:
    """Raise BadFile when a column is numbers but for a few cells: that is a damaged column, not one of texts."""
    if n_numeric * 2 <= len(cells):
        return
    is_text: Callable[[str], bool] = lambda cell: bool(cell) and not _NUMBER.fullmatch(cell)  # noqa: E731
    number = next(number for number, cell in enumerate(cells, start=2) if is_text(cell))
    raise BadFile(f"{request.path}, row {number}: {cells[number - 2]!r} in the column {name!r} is no number")


def _first_twice(texts: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None
