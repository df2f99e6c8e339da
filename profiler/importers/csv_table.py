"""CSV or CSV.gz with a header row: one row an architecture, numeric columns become table columns.

An architecture is named by `arch_str` (or `architecture`, as exports have it), by `index` (resolved through a table
that has both), or by `op_01 ... op_NN`. Accuracies of NATS-Bench and NAS-Bench-201 are such tables.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hilnas.errors import BadFile
from profiler._table_records import Column, ReferenceTable
from profiler.importers._base import Importer, ImportRequest
from profiler.importers._identity import checked_indices, distinct, parsed, resolved
from profiler.importers._reading import read_bytes
from profiler.importers._units import dimension_of, in_si, needed_columns, unit_of

_MAX_BYTES = 128 * 2**20
_MAX_CELLS = 6_000_000
_TEXTS = ("arch_str", "architecture")
_OPERATION = re.compile(r"op_\d\d")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NOT_A_NUMBER = {"nan", "inf", "-inf", "+inf", "infinity", "-infinity", "none", "null", "na", "n/a"}
#: Spellings of floats that a plain score may have: an indicator that overflows, or divides by zero.
_NOT_FINITE = {"nan", "inf", "-inf", "+inf", "infinity", "-infinity"}


class CsvTable(Importer):
    """Reads comma-separated tables."""

    format = "CSV with a header row, one row an architecture (.csv, .csv.gz)"
    generic = True

    def accepts(self, path: Path) -> bool:
        """Return whether the name ends in .csv or .csv.gz."""
        return path.name.lower().endswith((".csv", ".csv.gz"))

    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return the table; see the contract."""
        data = read_bytes(request.path, _MAX_BYTES)
        header, rows = rows_of(data, request.path)
        cells = {name: [row[i].strip() for row in rows] for i, name in enumerate(header)}
        needed_columns(request, header)
        architectures, used = _architectures(cells, request, index_to_architecture)
        indices = checked_indices(cells["index"], request) if "index" in cells else None
        columns = tuple(_column(name, cells[name], request) for name in header if name not in used)
        if not any(column.values is not None for column in columns):
            raise BadFile(
                f"{request.path} has no numeric column besides the architecture", f"It has: {', '.join(header)}."
            )
        digest = hashlib.sha256(data).hexdigest()
        space = request.needed_space()
        return ReferenceTable(request.name, space, request.path.name, digest, architectures, indices, columns)


def rows_of(data: bytes, path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a CSV; raise BadFile for a damaged one."""
    try:
        rows = list(_bounded(data, path))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"{path} is no CSV in UTF-8: {error}") from error
    if len(rows) < 2:
        raise BadFile(f"{path} has no rows", "A header row and at least one row are expected.")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header) or "" in header:
        raise BadFile(f"{path}: the header has an empty name or one twice", ", ".join(header)[:300])
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise BadFile(f"{path}, row {number}: {len(row)} cells where the header has {len(header)}")
    return header, rows[1:]


def _bounded(data: bytes, path: Path) -> Iterator[list[str]]:
    """Yield the rows that are not empty; raise BadFile for more cells than fit into memory."""
    cells = 0
    for row in csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=""), strict=True):
        cells += len(row) + 1
        if cells > _MAX_CELLS:
            raise BadFile(f"{path} has more than {_MAX_CELLS} cells")
        if row:
            yield row


def _architectures(
    cells: Mapping[str, Sequence[str]], request: ImportRequest, index_to_architecture: Mapping[int, str]
) -> tuple[tuple[str, ...], set[str]]:
    """Return the canonical texts and the columns that named them."""
    operations = sorted(name for name in cells if _OPERATION.fullmatch(name))
    text = next((name for name in _TEXTS if name in cells), None)
    if text is not None:
        texts, used = parsed(cells[text], request), {text, "index"}
    elif request.needed_space() == "fbnet" and operations:
        rows = zip(*(cells[name] for name in operations), strict=True)
        texts, used = parsed(["|".join(row) for row in rows], request), {*operations, "index"}
    elif "index" in cells:
        texts = resolved(checked_indices(cells["index"], request), request, index_to_architecture)
        used = {"index"}
    else:
        raise BadFile(
            f"{request.path} does not name its architectures",
            f"It has neither a column arch_str nor index, only: {', '.join(cells)[:300]}.",
        )
    return distinct(texts, request), used


def _column(name: str, cells: Sequence[str], request: ImportRequest) -> Column:
    """Return one column: numbers in SI with NaN for what is missing, or texts.

    Missing is an empty cell; of a plain score (unit none) also what is not finite.
    """
    bad = next((number for number, cell in enumerate(cells, start=2) if cell.lower() in _NOT_A_NUMBER), None)
    filled = [cell for cell in cells if cell]
    numeric = [cell for cell in filled if _NUMBER.fullmatch(cell)]
    strange = {cell.lower() for cell in cells} & _NOT_FINITE
    if numeric and strange and unit_of(name, request.unit, request.column_units) == "none":
        return _column(name, ["" if cell.lower() in strange else cell for cell in cells], request)
    if bad is not None and numeric:
        raise BadFile(
            f"{request.path}, row {bad}: {cells[bad - 2]!r} in the column {name!r} is no number",
            "A value that is missing is an empty cell.",
        )
    if not filled or len(numeric) < len(filled):
        _no_stray_text(name, cells, len(numeric), request)
        return Column(name, "text", "", texts=tuple(cells))
    unit = unit_of(name, request.unit, request.column_units)
    values = in_si([float(cell) if cell else math.nan for cell in cells], unit, name, request.path)
    return Column(name, dimension_of(unit), unit, values=values, batch=request.batch_of(name))


def _no_stray_text(name: str, cells: Sequence[str], n_numeric: int, request: ImportRequest) -> None:
    """Raise BadFile when a column is numbers but for a few cells: that is a damaged column, not one of texts."""
    if n_numeric * 2 <= len(cells):
        return
    stray = (number for number, cell in enumerate(cells, start=2) if cell and not _NUMBER.fullmatch(cell))
    number = next(stray)
    raise BadFile(f"{request.path}, row {number}: {cells[number - 2]!r} in the column {name!r} is no number")
