"""Tables of blocks: entries by key, pooled where a key was measured several times."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile
from profiler._table_records import Column, ReferenceTable
from profiler.importers._base import ImportRequest
from profiler.importers._units import COLUMN_UNITS, dimension_of, in_si, needed_columns

_MAX_KEY = 1000
_MAX_ENTRIES = 250_000


@dataclass(frozen=True, slots=True)
class Cell:
    """One value in the unit of the file, how far the measured ones scatter, and how many there were."""

    value: float
    spread: float | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One block: its key, what the key says, and its values by column."""

    key: str
    attributes: Mapping[str, Any]
    cells: Mapping[str, Cell] = field(default_factory=dict)


def block_table(
    request: ImportRequest,
    digest: str,
    entries: Sequence[Entry],
    units: Mapping[str, str],
    *,
    spread_kind: str = "sd",
    batch: int | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> ReferenceTable:
    """Return entries as a table, one column for each of `units`; a key that stands several times is pooled.

    Raises BadFile for entries that cannot be: none, too many, a key without letters, a negative time.
    """
    if not entries or not units:
        raise BadFile(f"{request.path} holds no entries", "It is of another format, or was cut off.")
    if len(entries) > _MAX_ENTRIES:
        raise BadFile(f"{request.path} holds more than {_MAX_ENTRIES} entries")
    bad = next((entry.key for entry in entries if not 0 < len(entry.key) <= _MAX_KEY), None)
    if bad is not None:
        raise BadFile(f"{request.path} holds an entry without a name, or with one of {len(bad)} characters")
    needed_columns(request, list(units))
    distinct = _pooled(entries)
    columns = [_column(name, unit, distinct, request, spread_kind, batch) for name, unit in units.items()]
    return ReferenceTable(
        request.name, request.space or "", request.path.name, digest, tuple(entry.key for entry in distinct), None,
        tuple(columns), "blocks", tuple(entry.attributes for entry in distinct), provenance or {},
    )  # fmt: skip


def pooled(cells: Sequence[Cell]) -> Cell:
    """Return several measurements of one block as one: mean and spread of all values together, weighted by counts.

    The spread is the root of Σ n (spread² + (value - mean)²) / Σ n; a count that is not known weighs 1.
    """
    if len(cells) == 1:
        return cells[0]
    weights = np.array([cell.count or 1 for cell in cells], np.float64)
    values = np.array([cell.value for cell in cells])
    mean = float(np.average(values, weights=weights))
    spreads = np.array([cell.spread or 0.0 for cell in cells])
    variance = float(np.average(spreads**2 + (values - mean) ** 2, weights=weights))
    known = all(cell.count is not None for cell in cells)
    return Cell(mean, math.sqrt(variance), int(weights.sum()) if known else len(cells))


def _pooled(entries: Sequence[Entry]) -> list[Entry]:
    by_key: dict[str, list[Entry]] = {}
    for entry in entries:
        by_key.setdefault(entry.key, []).append(entry)
    return [same[0] if len(same) == 1 else _merged(same) for same in by_key.values()]


def _merged(same: Sequence[Entry]) -> Entry:
    names = dict.fromkeys(name for entry in same for name in entry.cells)
    cells = {name: pooled([entry.cells[name] for entry in same if name in entry.cells]) for name in names}
    return Entry(same[0].key, same[0].attributes, cells)


def _column(
    name: str, unit: str, entries: Sequence[Entry], request: ImportRequest, spread_kind: str, batch: int | None
) -> Column:
    """Return one column in SI; spreads and counts only where there is any."""
    values = in_si(_of(entries, name, lambda cell: cell.value), unit, name, request.path)
    if np.isnan(values).all():
        raise BadFile(f"{request.path}: the column {name!r} holds no value")
    spreads, counts = (_of(entries, name, part) for part in (lambda cell: cell.spread, lambda cell: cell.count))
    has_spread, has_count = not np.isnan(spreads).all(), not np.isnan(counts).all()
    if (counts < 1).any():
        raise BadFile(f"{request.path}: the column {name!r} holds a value that was measured less than once")
    _, factor = COLUMN_UNITS[unit]
    if (spreads < 0).any() or np.isinf(spreads * factor).any():
        raise BadFile(f"{request.path}: the column {name!r} holds a spread that is negative or too large")
    return Column(
        name, dimension_of(unit), unit, values, batch=request.batch_of(name, batch),
        spreads=spreads * factor if has_spread else None, spread_kind=spread_kind if has_spread else "",
        counts=counts if has_count else None,
    )  # fmt: skip


def _of(entries: Sequence[Entry], name: str, part: Callable[[Cell], float | None]) -> NDArray[np.float64]:
    found = []
    for entry in entries:
        cell = entry.cells.get(name)
        value = None if cell is None else part(cell)
        found.append(math.nan if value is None else value)
    return np.array(found, np.float64)
