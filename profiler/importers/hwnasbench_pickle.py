"""HW-NAS-Bench's pickle: NAS-Bench-201 measured by network, FBNet by block, on six devices.

`[nasbench201][dataset][metric][index]` and `[fbnet][metric][block]` (github.com/GATECH-EIC/HW-NAS-Bench, v1.0).
Latency is in ms and energy in mJ, both for one image; -1 says that the compiler of the Edge TPU refused the network
(both by its authors, on its tracker). The pickle is never unpickled: see `_pickles`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hilnas.errors import BadFile, UsageError
from profiler._table_records import Column, ReferenceTable
from profiler.importers._base import Importer, ImportRequest
from profiler.importers._blocks import Cell, Entry, block_table
from profiler.importers._identity import distinct, parsed, resolved
from profiler.importers._pickles import load_plain
from profiler.importers._reading import read_bytes
from profiler.importers._units import dimension_of, in_si, needed_columns, said_unit
from profiler.importers._vectors import vector_of

_MAX_BYTES = 128 * 2**20
_UNITS = {"latency": "ms", "energy": "mj", "intensity": "none"}
_REFUSED_BY_COMPILER = -1.0
_BLOCK = re.compile(r"(?P<operator>[A-Za-z]+)(?:_[A-Za-z]+\d+)+")
_SIZE = re.compile(r"_([A-Za-z]+)(\d+)")
_CITED = {"source": "HW-NAS-Bench (ICLR 2021)", "licence": "MIT"}


class HwNasBenchPickle(Importer):
    """Reads HW-NAS-Bench-v1_0.pickle."""

    format = "HW-NAS-Bench's pickle (.pickle, .pkl)"

    def accepts(self, path: Path) -> bool:
        """Return whether the name ends as pickles do."""
        return path.name.lower().endswith((".pickle", ".pkl", ".pickle.gz", ".pkl.gz"))

    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return what it holds of the space: architectures of nasbench201, or the blocks of fbnet."""
        data = read_bytes(request.path, _MAX_BYTES)
        found = load_plain(data, request.path)
        space = request.needed_space()
        if not isinstance(found, dict) or space not in found or not isinstance(found[space], dict):
            known = [key for key in found if isinstance(key, str)] if isinstance(found, dict) else []
            raise UsageError(
                f"{request.path} holds nothing of the space {space!r}",
                f"It holds: {', '.join(known)[:200] or 'no search spaces; it is another pickle'}.",
                "Say another one: --space nasbench201 or --space fbnet",
            )
        digest = hashlib.sha256(data).hexdigest()
        if space == "fbnet":
            return _blocks(found[space], request, digest)
        return _networks(found[space], request, digest, index_to_architecture)


def _networks(
    datasets: Mapping[Any, Any], request: ImportRequest, digest: str, known: Mapping[int, str]
) -> ReferenceTable:
    """Return one row a network, one column a data set and metric."""
    vectors = {
        f"{dataset}_{metric}": vector_of(values, f"{request.path}: {dataset}, {metric}")
        for dataset, metrics in _items(datasets, request.path)
        for metric, values in _items(metrics, request.path)
        if metric != "config"
    }
    lengths = {len(vector) for vector in vectors.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise BadFile(
            f"{request.path}: its columns have {sorted(lengths) or 'no'} values",
            "Each has to have one for every network.",
        )
    needed_columns(request, list(vectors))
    n = lengths.pop()
    texts = _texts(datasets, n, request) or resolved(range(n), request, known)
    columns = [_column(name, vector, request) for name, vector in vectors.items()]
    return ReferenceTable(
        request.name, request.needed_space(), request.path.name, digest, distinct(texts, request), tuple(range(n)),
        tuple(columns), provenance=_CITED,
    )  # fmt: skip


def _texts(datasets: Mapping[Any, Any], n: int, request: ImportRequest) -> list[str]:
    """Return the architectures by the configs that stand beside the metrics, nothing where there are none."""
    for dataset, metrics in _items(datasets, request.path):
        configs = metrics.get("config")
        if isinstance(configs, list | tuple) and len(configs) == n:
            texts = [config.get("arch_str") if isinstance(config, dict) else None for config in configs]
            if not all(isinstance(text, str) for text in texts):
                raise BadFile(f"{request.path}: a config of {dataset} names no architecture (arch_str)")
            return parsed([str(text) for text in texts], request, first_row=0)
    return []


def _column(name: str, values: np.ndarray[Any, np.dtype[np.float64]], request: ImportRequest) -> Column:
    unit = said_unit(request, name, _UNITS.get(name.rsplit("_", 1)[-1]))
    if name.endswith("_latency"):
        values = np.where(values == _REFUSED_BY_COMPILER, np.nan, values)
    return Column(
        name, dimension_of(unit), unit, in_si(values, unit, name, request.path), batch=request.batch_of(name, 1)
    )


def _blocks(metrics: Mapping[Any, Any], request: ImportRequest, digest: str) -> ReferenceTable:
    """Return one entry a block, one column a metric; what has no value in every metric is missing there."""
    cells: dict[str, dict[str, Cell]] = {}
    units = {}
    for metric, table in _items(metrics, request.path):
        units[metric] = said_unit(request, metric, _UNITS.get(metric.rsplit("_", 1)[-1]))
        keys = [key for key, _ in _items(table, request.path)]
        values = vector_of(list(table.values()), f"{request.path}: {metric}")
        for key, value in zip(keys, values, strict=True):
            cells.setdefault(key, {})[metric] = Cell(float(value))
    entries = [Entry(key, _attributes(key), found) for key, found in cells.items()]
    return block_table(request, digest, entries, units, batch=1, provenance=_CITED)


def _attributes(key: str) -> dict[str, object]:
    """Return operator and sizes of `ConvBlock_H32_W32_Cin16_Cout16_exp1_kernel3_stride1_group1`, else nothing."""
    match = _BLOCK.fullmatch(key)
    if match is None:
        return {}
    return {"operator": match["operator"], **{name: int(size) for name, size in _SIZE.findall(key)}}


def _items(value: Any, path: Path) -> list[tuple[str, Any]]:
    """Return the items of a dictionary with texts as keys; raise BadFile for anything else."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise BadFile(
            f"{path} is no table of HW-NAS-Bench",
            "It should hold [space][dataset][metric][index] for nasbench201 and [space][metric][block] for fbnet.",
        )
    return list(value.items())
