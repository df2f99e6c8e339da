"""Measurements that `hilnas data export DEVICE --anonymous` wrote: architectures or blocks of one device, in SI."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hilnas.errors import BadFile, UsageError
from hilnas.records import canonical_json
from profiler._anonymous import FORMAT, SCHEMA
from profiler._metrics import dimension_of as dimension_of_metric
from profiler._metrics import metric_of
from profiler._table_records import Column, ReferenceTable
from profiler.importers._base import Importer, ImportRequest
from profiler.importers._blocks import Cell, Entry, block_table
from profiler.importers._identity import distinct, parsed
from profiler.importers._reading import finite, head_of, parse_json, read_bytes, shown
from profiler.importers._units import in_si, needed_columns, said_unit

_MAX_BYTES = 64 * 2**20
_MAX_PROVENANCE = 64 * 2**10
_LATENCY = "latency_s"
_SI = {"time": "s", "energy": "j", "bytes": "b"}


class HilnasExport(Importer):
    """Reads a record of measurements."""

    format = "measurements that hilnas exported (.json)"

    def accepts(self, path: Path) -> bool:
        """Return whether the name ends in .json and the head names the format."""
        named = path.name.lower().endswith((".json", ".json.gz"))
        return named and f'"{FORMAT}"'.encode() in head_of(path)

    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return one row an architecture or block: `latency_s` with half widths and counts, then its metrics."""
        data = read_bytes(request.path, _MAX_BYTES)
        record = _checked(parse_json(data, str(request.path)), request)
        rows, digest = record["measurements"], hashlib.sha256(data).hexdigest()
        provenance = {name: value for name, value in record.items() if name != "measurements"}
        if len(canonical_json(provenance)) > _MAX_PROVENANCE:
            raise BadFile(f"{request.path} says more than {_MAX_PROVENANCE >> 10} KiB beside its measurements")
        request = replace(request, space=record["space"])
        if record["kind"] == "blocks":
            return _blocks(rows, request, digest, provenance)
        return _architectures(rows, request, digest, provenance)


def _checked(record: Any, request: ImportRequest) -> dict[str, Any]:
    """Return the record; raise BadFile for one that is none, UsageError for one of another space than the user says."""
    path = request.path
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise BadFile(f"{path} is no record of measurements", f'It should say "format": "{FORMAT}".')
    if record.get("schema_version") != SCHEMA:
        version = shown(record.get("schema_version"))
        raise BadFile(f"{path} has the schema {version}, not {SCHEMA}", "Another hilnas wrote it.", "Update hilnas.")
    if record.get("kind") not in ("architectures", "blocks") or not isinstance(record.get("space"), str):
        raise BadFile(f"{path} does not say of which space its architectures or blocks are")
    if request.space not in (None, record["space"]):
        raise UsageError(f"{path} is of {record['space']}, not of {request.space}", "", "Leave --space out.")
    rows = record.get("measurements")
    if not isinstance(rows, list) or not rows or not all(_is_row(row) for row in rows):
        raise BadFile(f"{path} holds no measurements", "It was cut off, or changed by hand.")
    return record


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("key"), str) and isinstance(row.get("metrics", {}), dict)


def _architectures(
    rows: Sequence[Mapping[str, Any]], request: ImportRequest, digest: str, provenance: Mapping[str, Any]
) -> ReferenceTable:
    names = sorted({name for row in rows for name in row.get("metrics", {})})
    unknown = next((name for name in names if metric_of(name) is None), None)
    if unknown is not None:
        raise BadFile(f"{request.path} has the unknown metric {shown(unknown)}", "", "Update hilnas.")
    needed_columns(request, [_LATENCY, *names])
    texts = distinct(parsed([row["key"] for row in rows], request, first_row=0), request)
    batch = _batch(rows)
    cells = {_LATENCY: [_cell(row, request.path) for row in rows]}
    cells |= {name: [_metric(row["metrics"].get(name), request.path) for row in rows] for name in names}
    columns = tuple(_column(name, found, batch, request) for name, found in cells.items())
    return ReferenceTable(
        request.name, request.needed_space(), request.path.name, digest, texts, None, columns, provenance=provenance
    )


def _blocks(
    rows: Sequence[Mapping[str, Any]], request: ImportRequest, digest: str, provenance: Mapping[str, Any]
) -> ReferenceTable:
    unit = said_unit(request, _LATENCY, "s")
    entries = [Entry(row["key"], attributes_of(row["key"]), {_LATENCY: _cell(row, request.path)}) for row in rows]
    return block_table(
        request, digest, entries, {_LATENCY: unit}, spread_kind="half_width", batch=_batch(rows), provenance=provenance
    )


def attributes_of(key: str) -> dict[str, Any]:
    """Return what a block key of hilnas says (`nor_conv_3x3/1x16x32x32/1x16x32x32/w32a32`), nothing for another."""
    parts = key.split("/")
    shapes = [part.split("x") for part in parts[1:-1]]
    if len(parts) < 3 or not all(size.isdecimal() for shape in shapes for size in shape):
        return {}
    names = ("input", "output") if len(shapes) == 2 else ("output",)
    return {
        "operator": parts[0],
        **{name: [int(size) for size in shape] for name, shape in zip(names, shapes, strict=False)},
        "bits": parts[-1],
    }


def _cell(row: Mapping[str, Any], path: Path) -> Cell:
    """Return the latency of a row with half its interval; raise BadFile for times that make no sense."""
    where = f"{path}, {row['key'][:100]}"
    latency_s = finite(row.get(_LATENCY), where)
    lower_s, upper_s = (row.get(name) for name in ("lower_s", "upper_s"))
    half = None if lower_s is None or upper_s is None else (finite(upper_s, where) - finite(lower_s, where)) / 2
    count = row.get("invocations")
    if latency_s <= 0 or (half is not None and half < 0) or (count is not None and type(count) is not int):
        raise BadFile(f"{where}: {latency_s:g} s is no latency, or its interval is none", "It was changed by hand.")
    return Cell(latency_s, half, count)


def _metric(value: Any, path: Path) -> Cell:
    if value is None:
        return Cell(math.nan)
    if not isinstance(value, dict):
        raise BadFile(f"{path}: {shown(value)} is no value of a metric")
    uncertainty = value.get("uncertainty")
    spread = None if uncertainty is None else finite(uncertainty, str(path))
    return Cell(finite(value.get("value"), str(path)), spread)


def _batch(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the batch that all rows have, None where they differ or do not say."""
    shapes = [row.get("input_shape") for row in rows]
    found = {shape[0] if isinstance(shape, list) and shape else None for shape in shapes}
    batch = found.pop() if len(found) == 1 else None
    return batch if type(batch) is int and batch > 0 else None


def _column(name: str, cells: Sequence[Cell], batch: int | None, request: ImportRequest) -> Column:
    dimension = "time" if name == _LATENCY else dimension_of_metric(name)
    unit = said_unit(request, name, _SI.get(dimension, "none"))
    values, spreads, counts = (
        np.array([math.nan if part is None else part for part in parts], np.float64)
        for parts in zip(*((cell.value, cell.spread, cell.count) for cell in cells), strict=True)
    )
    has_spread, has_count = not np.isnan(spreads).all(), not np.isnan(counts).all()
    return Column(
        name, dimension, unit, in_si(values, unit, name, request.path), batch=request.batch_of(name, batch),
        spreads=in_si(spreads, unit, name, request.path) if has_spread else None,
        spread_kind=("half_width" if name == _LATENCY else "sd") if has_spread else "",
        counts=counts if has_count else None,
    )  # fmt: skip
