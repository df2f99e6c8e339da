"""The operator table of FBNet and ChamNet: JSON lines with op_type, op_args, input_shapes, input_dtypes, device.

Values are percentiles in microseconds, `runtime_us_p0` to `runtime_us_p100`; the schema is `runtime_lut` of
github.com/facebookresearch/mobile-vision. One column a device holds its medians, further ones its other percentiles.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hilnas.errors import BadFile
from profiler._table_records import ReferenceTable
from profiler.importers._base import Importer, ImportRequest
from profiler.importers._blocks import Cell, Entry, block_table
from profiler.importers._reading import finite, head_of, parse_json, read_bytes, shown
from profiler.importers._units import said_unit

_MAX_BYTES = 64 * 2**20
_MAX_LINE = 64 * 1024
_PERCENTILES = (0, 10, 50, 90, 100)
_KEYS = ("op_type", "op_args", "input_shapes", "input_dtypes", "device")
#: Names of caffe2's TensorProto.DataType.
_DTYPES = {
    0: "undefined", 1: "float32", 2: "int32", 3: "byte", 4: "string", 5: "bool", 6: "uint8", 7: "int8", 8: "uint16",
    9: "int16", 10: "int64", 12: "float16", 13: "float64",
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. :+-]{0,99}")
#: An argument as caffe2 prints its protocol buffer: a name and one value or several.
_NAME = re.compile(r'name:\s*"([^"]{1,100})"')
_VALUE = re.compile(r'\b(?:f|i|s|floats|ints|strings):\s*("[^"]{0,200}"|[-+.\w]{1,40})')


class FbnetJsonl(Importer):
    """Reads *-op_lut_database.json, unpacked."""

    format = "operator table of FBNet and ChamNet, JSON lines (.json, .jsonl)"

    def accepts(self, path: Path) -> bool:
        """Return whether the name ends in .json or .jsonl and the first line has its fields."""
        named = path.name.lower().endswith((".json", ".jsonl", ".json.gz", ".jsonl.gz"))
        return named and b'"op_type"' in head_of(path)

    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return the entries; see the contract."""
        data = read_bytes(request.path, _MAX_BYTES)
        entries: list[Entry] = []
        for number, line in enumerate(data.splitlines(), start=1):
            if line.strip():
                entries.append(_entry(line, f"{request.path}, line {number}"))
        columns = sorted({name for entry in entries for name in entry.cells}, key=_by_device)
        units = {name: said_unit(request, name, "us") for name in columns}
        digest = hashlib.sha256(data).hexdigest()
        cited = {"source": "mobile-vision runtime_lut (FBNet, ChamNet)", "licence": "CC BY-NC"}
        return block_table(request, digest, entries, units, spread_kind="half_p10_p90", provenance=cited)


def _by_device(column: str) -> tuple[str, bool, int]:
    """Sort a device's medians before its percentiles."""
    device, _, percentile = column.rpartition("_p")
    return (device, True, int(percentile)) if percentile.isdigit() and device else (column, False, 0)


def _entry(line: bytes, where: str) -> Entry:
    if len(line) > _MAX_LINE:
        raise BadFile(f"{where} is longer than {_MAX_LINE >> 10} KiB", "It is no JSON line of this format.")
    record = parse_json(line, where)
    missing = [name for name in (*_KEYS, "runtime_us_p50") if not isinstance(record, dict) or name not in record]
    if missing:
        raise BadFile(f"{where} has no {missing[0]}", "Each line holds one operator with all the fields of the schema.")
    attributes = _attributes(record, where)
    device = _word(record["device"], where)
    p = {n: finite(record[f"runtime_us_p{n}"], where) for n in _PERCENTILES if f"runtime_us_p{n}" in record}
    if sorted(p.values()) != list(p.values()):
        raise BadFile(f"{where}: the percentiles do not rise", "The columns of the table were mixed up.")
    spread = (p[90] - p[10]) / 2 if 10 in p and 90 in p else None
    cells = {device: Cell(p[50], spread), **{f"{device}_p{n}": Cell(v) for n, v in p.items() if n != 50}}
    return Entry(_key(attributes), attributes, cells)


def _attributes(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    shapes, dtypes, arguments = record["input_shapes"], record["input_dtypes"], record["op_args"]
    if not isinstance(shapes, list) or not all(_is_shape(shape) for shape in shapes):
        raise BadFile(f"{where}: input_shapes is no list of shapes")
    if not isinstance(dtypes, list) or not all(isinstance(dtype, int) for dtype in dtypes):
        raise BadFile(f"{where}: input_dtypes is no list of numbers")
    if not isinstance(arguments, list) or not all(isinstance(argument, str) for argument in arguments):
        raise BadFile(f"{where}: op_args is no list of texts")
    return {
        "operator": _word(record["op_type"], where),
        "arguments": dict(sorted(_argument(text, where) for text in arguments if "ws_nbytes_limit" not in text)),
        "inputs": shapes,
        "dtypes": [_DTYPES.get(dtype, str(dtype)) for dtype in dtypes],
    }


def _argument(text: str, where: str) -> tuple[str, str]:
    """Return name and value of `name: "kernel"\\ni: 3`; an argument of caffe2 that limits memory is left out before."""
    name = _NAME.search(text)
    if name is None:
        raise BadFile(f"{where}: the argument {text[:60]!r} has no name")
    return name[1], ",".join(value.strip('"') for value in _VALUE.findall(text.replace(name[0], "", 1)))


def _is_shape(shape: object) -> bool:
    return isinstance(shape, list) and len(shape) <= 8 and all(isinstance(n, int) and 0 <= n < 2**31 for n in shape)


def _word(value: object, where: str) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise BadFile(f"{where}: {shown(value)} is no name of an operator or device")
    return value


def _key(attributes: Mapping[str, Any]) -> str:
    """Return `Int8Conv(kernel=3,stride=2) 1x224x224x3,32x3x3x3,32 uint8,uint8,int32`."""
    arguments = ",".join(f"{name}={value}" for name, value in attributes["arguments"].items())
    shapes: Sequence[str] = ["x".join(map(str, shape)) for shape in attributes["inputs"]]
    return f"{attributes['operator']}({arguments}) {','.join(shapes)} {','.join(attributes['dtypes'])}"
