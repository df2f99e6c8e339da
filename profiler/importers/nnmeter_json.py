"""Profiled kernels of nn-Meter: `{"conv-bn-relu": {"YB2F4N": {"latency": "37.53 +- 0.314", "config": {...}}}}`, ms.

The names of entries are random; what was measured stands in `config`, in this file or, as nn-Meter leaves it, in the
files `KERNEL_*.json` of the same folder (docs/builder of github.com/microsoft/nn-Meter).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilnas.errors import BadFile
from profiler._table_records import ReferenceTable
from profiler.importers._base import Importer, ImportRequest
from profiler.importers._blocks import Cell, Entry, block_table
from profiler.importers._reading import finite, head_of, parse_json, read_bytes
from profiler.importers._units import number_of, said_unit

_MAX_BYTES = 64 * 2**20
_MAX_BESIDE = 32
_COLUMN = "latency"
_LATENCY = re.compile(r"\s*(?P<mean>[-+.\deE]{1,40})\s*(?:\+-|±)\s*(?P<spread>[-+.\deE]{1,40})\s*")
_KERNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

_Kernels = dict[str, dict[str, dict[str, Any]]]


class NnMeterJson(Importer):
    """Reads predictor_build/results/profiled_*.json."""

    format = "profiled kernels of nn-Meter (.json)"

    def accepts(self, path: Path) -> bool:
        """Return whether the name ends in .json and a latency with its spread stands in the head."""
        head = head_of(path)
        named = path.name.lower().endswith((".json", ".json.gz"))
        return named and b'"op_type"' not in head and (b"+-" in head or b'"config"' in head)

    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return the entries; see the contract."""
        data = read_bytes(request.path, _MAX_BYTES)
        kernels = _kernels(data, request.path)
        configs = _configs_beside(kernels, request.path)
        entries = [
            _entry(kernel, name, values, configs.get((kernel, name)), f"{request.path}, {kernel} {name}")
            for kernel, named in kernels.items()
            for name, values in named.items()
            if "latency" in values
        ]
        if not entries:
            raise BadFile(
                f"{request.path} holds no latency",
                "It lists what is to be measured; nn-Meter writes the results into profiled_*.json.",
                "Import that file: hilnas data import results/profiled_KERNEL.json --as NAME",
            )
        unit = said_unit(request, _COLUMN, "ms")
        digest = hashlib.sha256(data).hexdigest()
        unknown = sum("config" not in entry.attributes for entry in entries)
        return block_table(request, digest, entries, {_COLUMN: unit}, batch=1, provenance={"without_config": unknown})


def _kernels(data: bytes, path: Path) -> _Kernels:
    found = parse_json(data, str(path))
    named = list(found.values()) if isinstance(found, dict) else []
    if not named or not all(isinstance(value, dict) for value in named):
        raise BadFile(f"{path} is no file of nn-Meter", 'It should hold {"kernel": {"name": {"latency": ...}}}.')
    if not all(isinstance(entry, dict) for value in named for entry in value.values()):
        raise BadFile(f"{path} is no file of nn-Meter", "The entries of a kernel are objects.")
    result: _Kernels = found
    return result


def _configs_beside(kernels: _Kernels, path: Path) -> dict[tuple[str, str], Any]:
    """Return what nn-Meter measured under each name, from the files it wrote beside the results."""
    lacking = {kernel for kernel, named in kernels.items() if any("config" not in values for values in named.values())}
    found: dict[tuple[str, str], Any] = {}
    for kernel in sorted(kernel for kernel in lacking if _KERNEL.fullmatch(kernel)):
        for beside in sorted(path.parent.glob(f"{kernel}_*.json"))[:_MAX_BESIDE]:
            if beside == path or not beside.is_file():
                continue
            for name, values in _kernels(read_bytes(beside, _MAX_BYTES), beside).get(kernel, {}).items():
                found[kernel, name] = values.get("config")
    return found


def _entry(kernel: str, name: str, values: Mapping[str, Any], beside: Any, where: str) -> Entry:
    mean, spread = _latency(values["latency"], where)
    config = values.get("config", beside)
    if config is None:
        return Entry(f"{kernel}#{name}", {"operator": kernel}, {_COLUMN: Cell(mean, spread)})
    if not isinstance(config, dict):
        raise BadFile(f"{where}: its config is no object")
    sizes = {str(key): finite(value, where) for key, value in config.items() if value is not None}
    text = ",".join(f"{key}={int(size) if size.is_integer() else size}" for key, size in sorted(sizes.items()))
    return Entry(f"{kernel}({text})", {"operator": kernel, "config": sizes}, {_COLUMN: Cell(mean, spread)})


def _latency(value: object, where: str) -> tuple[float, float | None]:
    """Return mean and spread of "37.53 +- 0.314", or of a plain number, which has no spread."""
    if not isinstance(value, str):
        return finite(value, where), None
    match = _LATENCY.fullmatch(value)
    try:
        if match is None:
            raise ValueError(f"{value[:60]!r} is no latency")
        return number_of(match["mean"]), number_of(match["spread"])
    except ValueError as error:
        raise BadFile(f"{where}: {error}", 'A latency is written "37.53 +- 0.314", in ms.') from error
