"""A source pack: latencies of the same architectures on several devices, with their provenance.

`source_pack:NAME` is a pack that ships with hilnas; others are folders with a pack.json and a DEVICE.csv.gz for each
device (see `profiler/_source_pack.py`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile, UsageError
from profiler._source_pack import PackRow, SourcePack, read_pack
from profiler._table_records import Column, ReferenceTable
from profiler.importers._base import Importer, ImportRequest
from profiler.importers._identity import distinct, parsed
from profiler.importers._reading import parse_json, read_bytes
from profiler.importers._units import in_si, needed_columns, said_unit

_MAX_DESCRIPTION, _MAX_TABLE = 2**20, 64 * 2**20
_MAX_DEVICES = 200
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DESCRIPTION = "pack.json"


class SourcePackFolder(Importer):
    """Reads the folder of a source pack."""

    format = "source pack of hilnas (a folder with pack.json)"

    def accepts(self, path: Path) -> bool:
        """Return whether it is a folder with a pack.json."""
        return path.is_dir() and (path / _DESCRIPTION).is_file()

    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return one row an architecture, one column a device, half widths as spreads, invocations as counts."""
        digest = _checked(request.path)
        pack = read_pack(request.path)
        space = str(pack.provenance.get("space", "")) or request.needed_space()
        if request.space not in (None, space):
            raise UsageError(f"{request.path} is of {space}, not of {request.space}", "", f"Write --space {space}")
        needed_columns(request, list(pack.tables))
        texts = sorted({row.architecture for rows in pack.tables.values() for row in rows})
        if not texts:
            raise BadFile(f"{request.path} holds no architectures")
        keys = distinct(parsed(texts, replace(request, space=space)), request)
        columns = tuple(_column(name, rows, texts, pack, request) for name, rows in pack.tables.items())
        return ReferenceTable(
            request.name, space, request.path.name, digest, keys, None, columns,
            provenance=pack.provenance,
        )  # fmt: skip


def _checked(folder: Path) -> str:
    """Return the hash of a pack whose files were found to be of bounded size and to lie in the folder."""
    data = read_bytes(folder / _DESCRIPTION, _MAX_DESCRIPTION)
    described = parse_json(data, str(folder / _DESCRIPTION))
    devices = described.get("devices") if isinstance(described, dict) else None
    if not isinstance(devices, list) or not 0 < len(devices) <= _MAX_DEVICES:
        raise BadFile(f"{folder / _DESCRIPTION} lists no devices, or more than {_MAX_DEVICES}")
    digest = hashlib.sha256(data)
    for device in devices:
        name = device.get("name") if isinstance(device, dict) else None
        if not isinstance(name, str) or not _DEVICE.fullmatch(name):
            raise BadFile(f"{folder / _DESCRIPTION} names a device that is no plain name")
        digest.update(read_bytes(folder / f"{name}.csv.gz", _MAX_TABLE))
    return digest.hexdigest()


def _column(
    name: str, rows: Sequence[PackRow], texts: Sequence[str], pack: SourcePack, request: ImportRequest
) -> Column:
    shape: Any = pack.provenance.get("input_shape")
    batch = shape[0] if isinstance(shape, list) and shape and type(shape[0]) is int and shape[0] > 0 else None
    unit = said_unit(request, name, "s")
    by_text = {row.architecture: row for row in rows}
    spreads = _of(texts, by_text, lambda row: row.half_width_s)
    return Column(
        name, "time", unit, in_si(_of(texts, by_text, lambda row: row.latency_s), unit, name, request.path),
        batch=request.batch_of(name, batch), spreads=spreads, spread_kind="half_width",
        counts=_of(texts, by_text, lambda row: row.invocations),
    )  # fmt: skip


def _of(
    texts: Sequence[str], rows: Mapping[str, PackRow], part: Callable[[PackRow], float | None]
) -> NDArray[np.float64]:
    found = [None if text not in rows else part(rows[text]) for text in texts]
    return np.array([math.nan if value is None else value for value in found], np.float64)
