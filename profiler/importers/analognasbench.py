"""AnalogNAS-Bench: accuracy of NAS-Bench-201 cells on simulated analog hardware, after drift as well.

The package `analog-nasbench` ships a pickle, `data.anb`: architecture -> an object with the metrics; earlier versions
a CSV with the same columns. Accuracies are CIFAR-10 test accuracies in percent. The pickle is never unpickled: see
`_pickles`. An architecture is six numbers of operators in NASLib's order of edges: 1-2, 1-3, 1-4, 2-3, 2-4, 3-4.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile, UsageError
from profiler._table_records import Column, ReferenceTable
from profiler.importers._base import Importer, ImportRequest
from profiler.importers._identity import distinct
from profiler.importers._pickled_names import Dialect, Record
from profiler.importers._pickles import load_plain
from profiler.importers._reading import head_of, read_bytes, shown
from profiler.importers._units import dimension_of, in_si, needed_columns, number_of, said_unit
from profiler.importers.csv_table import rows_of

_MAX_BYTES = 128 * 2**20
_SPACE = "nasbench201"
_OPERATORS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
#: The edges of NAS-Bench-201's text (0-1, 0-2, 1-2, 0-3, 1-3, 2-3) as places in NASLib's order.
_EDGES = (0, 1, 3, 2, 4, 5)
_TEXT = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
_CODE = re.compile(r"\(?\s*([0-4])" + r"\s*,\s*([0-4])" * 5 + r"\s*,?\s*\)?")
_CLASSES = Dialect(records=frozenset({"Architecture", "DriftMeasurement"}))
_METRIC = re.compile(r"[a-z]+_(accuracy|drift_\d+)")
_CITED = {"source": "AnalogNAS-Bench (IBM), simulated", "licence": "Apache-2.0"}

#: Value and uncertainty; NaN where one is not known.
_Pair = tuple[float, float]


class AnalogNasBench(Importer):
    """Reads data.anb and benchmark_data.csv of the package analog-nasbench."""

    format = "AnalogNAS-Bench (data.anb, or its .csv)"

    def accepts(self, path: Path) -> bool:
        """Return whether the name ends in .anb, or in .csv with the metrics in the header."""
        name = path.name.lower()
        if name.endswith(".anb"):
            return True
        header = head_of(path).split(b"\n", 1)[0] if name.endswith((".csv", ".csv.gz")) else b""
        return b"architecture" in header and b"baseline_accuracy" in header

    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return one row a cell, one column a metric, the uncertainty of drift as its spread."""
        if request.space not in (None, _SPACE):
            raise UsageError(f"AnalogNAS-Bench is of {_SPACE}, not of {request.space}", "", f"Write --space {_SPACE}")
        data = read_bytes(request.path, _MAX_BYTES)
        as_pickle = request.path.name.lower().endswith(".anb")
        codes, metrics = _of_pickle(data, request.path) if as_pickle else _of_csv(data, request.path)
        texts = [text_of(code) for code in codes]
        needed_columns(request, list(metrics))
        columns = tuple(_column(name, pairs, request) for name, pairs in metrics.items())
        digest = hashlib.sha256(data).hexdigest()
        return ReferenceTable(
            request.name, _SPACE, request.path.name, digest, distinct(texts, request), None, columns, provenance=_CITED
        )


def text_of(code: Sequence[int]) -> str:
    """Return the architecture of six numbers in NASLib's order; IndexError for a number that is no operator."""
    return f"{_SPACE}:" + _TEXT.format(*(_OPERATORS[code[edge]] for edge in _EDGES))


def _of_pickle(data: bytes, path: Path) -> tuple[list[tuple[int, ...]], dict[str, list[_Pair]]]:
    found = load_plain(data, path, _CLASSES)
    if not isinstance(found, dict) or not found:
        raise BadFile(f"{path} is no data file of AnalogNAS-Bench", "It should hold architecture -> metrics.")
    codes = [_code(key, path) for key in found]
    rows = [_fields(value, path) for value in found.values()]
    names = [name for name in rows[0] if _METRIC.fullmatch(name)]
    if any(name not in row for row in rows for name in names):
        raise BadFile(f"{path}: not every architecture has all of {', '.join(names)}")
    return codes, {name: [_pair(row[name], f"{path}, {name}") for row in rows] for name in names}


def _of_csv(data: bytes, path: Path) -> tuple[list[tuple[int, ...]], dict[str, list[_Pair]]]:
    header, rows = rows_of(data, path)
    if "architecture" not in header:
        raise BadFile(f"{path} has no column architecture", f"It has: {', '.join(header)[:300]}.")
    places = {name: place for place, name in enumerate(header) if _METRIC.fullmatch(name)}
    codes = [_code(row[header.index("architecture")], path) for row in rows]
    return codes, {name: [_pair(row[place], f"{path}, {name}") for row in rows] for name, place in places.items()}


def _code(key: object, path: Path) -> tuple[int, ...]:
    text = key if isinstance(key, str) else ",".join(map(str, key)) if isinstance(key, tuple) else ""
    match = _CODE.fullmatch(text.strip())
    if match is None:
        raise BadFile(f"{path}: {shown(text)} is no architecture", "Six numbers from 0 to 4 are expected.")
    return tuple(int(number) for number in match.groups())


def _fields(value: Any, path: Path) -> Mapping[str, Any]:
    fields = value.fields if isinstance(value, Record) else value
    if not isinstance(fields, dict):
        raise BadFile(f"{path} is no data file of AnalogNAS-Bench", "Its values should be objects with metrics.")
    return fields


def _pair(value: Any, where: str) -> _Pair:
    """Return value and uncertainty of a number, of "85.4 ± 0.2", or of an object with both."""
    if isinstance(value, Record | dict):
        fields = value.fields if isinstance(value, Record) else value
        return _pair(fields.get("value"), where)[0], _pair(fields.get("uncertainty"), where)[0]
    if value is None or value == "":
        return math.nan, math.nan
    first, _, second = value.partition("±") if isinstance(value, str) else (value, "", "")
    try:
        return number_of(first), number_of(second) if second else math.nan
    except (TypeError, ValueError) as error:
        raise BadFile(f"{where}: {shown(value)} is no accuracy", "It is a number, or 85.4 ± 0.2.") from error


def _column(name: str, pairs: Sequence[_Pair], request: ImportRequest) -> Column:
    unit = said_unit(request, name, "percent")
    values, spreads = (np.array(part, np.float64) for part in zip(*pairs, strict=True))
    known: NDArray[np.float64] | None = None if np.isnan(spreads).all() else in_si(spreads, unit, name, request.path)
    return Column(
        name, dimension_of(unit), unit, in_si(values, unit, name, request.path),
        spreads=known, spread_kind="" if known is None else "sd",
    )  # fmt: skip
