"""Block tables of Once-for-All and ProxylessNAS: YAML, `key: {count: 154, mean: 5.26, var: 0.19}`.

Keys such as `expanded_conv-input:7x7x192-output:7x7x320-expand:6-kernel:5-stride:1-idskip:0` are those of the latency
tables in github.com/mit-han-lab/once-for-all and proxylessnas; shapes are height x width x channels. The file says no
unit, so the user does; files that hilnas wrote say it in their first line.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilnas.errors import BadFile
from profiler._table_records import ReferenceTable
from profiler.importers._base import Importer, ImportRequest
from profiler.importers._blocks import Cell, Entry, block_table
from profiler.importers._flat_yaml import flat_mapping
from profiler.importers._reading import read_bytes
from profiler.importers._units import COLUMN_UNITS, number_of, said_unit

_MAX_BYTES = 32 * 2**20
_COLUMN = "latency"
_KEY = re.compile(r"(?P<operator>\w+)-input:(?P<input>\d+(?:x\d+)*)-output:(?P<output>\d+(?:x\d+)*)(?P<rest>.*)")
_OPTION = re.compile(r"-([a-z]\w*):(\d+)")
#: What hilnas writes above a table, so that its unit travels with it.
UNIT_LINE = "# hilnas: unit "


class OfaYaml(Importer):
    """Reads *_lookup_table.yaml and the like."""

    format = "block table of Once-for-All or ProxylessNAS (.yaml, .yml)"

    def accepts(self, path: Path) -> bool:
        """Return whether the name ends as YAML does."""
        return path.name.lower().endswith((".yaml", ".yml", ".yaml.gz", ".yml.gz"))

    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return the entries; see the contract."""
        data = read_bytes(request.path, _MAX_BYTES)
        unit = said_unit(request, _COLUMN, _written_unit(data))
        entries = [_entry(key, values, request.path) for key, values in flat_mapping(data, request.path).items()]
        digest = hashlib.sha256(data).hexdigest()
        unread = sum(not entry.attributes for entry in entries)
        return block_table(request, digest, entries, {_COLUMN: unit}, provenance={"keys_not_understood": unread})


def attributes_of(key: str) -> dict[str, Any]:
    """Return what a key says: operator, input and output shape, expand, kernel, stride ...; nothing for another."""
    match = _KEY.fullmatch(key)
    if match is None or _OPTION.sub("", match["rest"]):
        return {}
    shapes = {name: [int(size) for size in match[name].split("x")] for name in ("input", "output")}
    return {"operator": match["operator"], **shapes, **{n: int(v) for n, v in _OPTION.findall(match["rest"])}}


def _written_unit(data: bytes) -> str | None:
    first = data.split(b"\n", 1)[0].decode("ascii", "replace").strip()
    unit = first.removeprefix(UNIT_LINE) if first.startswith(UNIT_LINE) else ""
    return unit if unit in COLUMN_UNITS else None


def _entry(key: str, values: Mapping[str, str], path: Path) -> Entry:
    """Return one entry; `values` are the texts of mean, var and count, or of the one value under the empty name."""
    try:
        numbers = {name: number_of(values[name]) for name in ("", "mean", "var", "count") if name in values}
    except ValueError as error:
        raise BadFile(f"{path}, entry {key[:100]!r}: {error}", "Means, variances and counts are numbers.") from error
    mean = numbers.get("mean", numbers.get(""))
    if mean is None:
        raise BadFile(f"{path}, entry {key[:100]!r} has no mean", f"It has: {', '.join(values) or 'nothing'}.")
    variance, count = numbers.get("var"), numbers.get("count")
    if variance is not None and variance < 0:
        raise BadFile(f"{path}, entry {key[:100]!r} has a negative variance")
    if count is not None and (count != int(count) or count < 1):
        raise BadFile(f"{path}, entry {key[:100]!r} has the count {count:g}")
    spread = None if variance is None else math.sqrt(variance)
    return Entry(key, attributes_of(key), {_COLUMN: Cell(mean, spread, None if count is None else int(count))})
