"""HELP's latency folder: one `.pt` file a device, a vector of ms by the index of the architecture.

`data/nasbench201/latency/*.pt` and `data/fbnet/latency/*.pt` of github.com/HayeonLee/HELP; the folder above or the
`latency` folder may be given. The files beside it say which architecture an index is: `str_arch2idx.pt` for
NAS-Bench-201, `metainfo.pt` for FBNet. Values are ms for one call; the batch of a call ends the name of a GPU's file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile
from profiler._plan import load_space
from profiler._table_records import Column, ReferenceTable
from profiler.importers._base import Importer, ImportRequest
from profiler.importers._identity import distinct, parsed, resolved
from profiler.importers._torch_files import read_torch_file
from profiler.importers._units import dimension_of, in_si, needed_columns, said_unit
from profiler.importers._vectors import vector_of

_MAX_FILES = 500
_TEXTS, _FBNET = "str_arch2idx.pt", "metainfo.pt"
#: Files beside the latencies; a folder with one of them is HELP's, and HELP's times are ms.
_BESIDE = (_TEXTS, _FBNET, "hardware_embedding_index.pt", "architecture.pt", "arch.pt", "ofa_archs.pt")
#: A batch is a power of two: 1080ti_256; silver_4114 is a processor.
_BATCH = re.compile(r".+_(1|2|4|8|16|32|64|128|256|512|1024)")


class HelpFolder(Importer):
    """Reads a folder of .pt files."""

    format = "HELP's latency folder (one .pt a device)"

    def accepts(self, path: Path) -> bool:
        """Return whether it is a folder with .pt files, or with a folder `latency` of them."""
        return path.is_dir() and next(_latencies(path).glob("*.pt"), None) is not None

    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return one row an architecture, one column a device."""
        space = request.needed_space()
        folder = _latencies(request.path)
        beside = folder.parent if folder.name == "latency" else folder
        paths = [path for path in sorted(folder.glob("*.pt")) if path.name not in _BESIDE]
        if not paths or len(paths) > _MAX_FILES:
            raise BadFile(f"{folder} holds {len(paths)} files of latencies", "One .pt file a device is expected.")
        needed_columns(request, [path.stem for path in paths])
        vectors, digest = _vectors(paths)
        n = max(len(vector) for vector in vectors.values())
        if n == 0:
            raise BadFile(f"{folder} holds no latencies", "Its vectors are empty.")
        known = _texts(beside, request) or index_to_architecture
        texts = resolved(range(n), request, known)
        usual = "ms" if any((beside / name).exists() for name in _BESIDE) else None
        columns = tuple(_column(name, vector, n, request, usual) for name, vector in vectors.items())
        return ReferenceTable(
            request.name, space, request.path.name, digest, distinct(texts, request), tuple(range(n)), columns,
            provenance={"source": "HELP (NeurIPS 2021)", "licence": "MIT"} if usual else {},
        )  # fmt: skip


def _latencies(path: Path) -> Path:
    inner = path / "latency"
    return inner if inner.is_dir() else path


def _vectors(paths: list[Path]) -> tuple[dict[str, NDArray[np.float64]], str]:
    """Return the vector of every device, and the hash of all files."""
    digest = hashlib.sha256()
    found = {}
    for path in paths:
        file = read_torch_file(path)
        found[path.stem] = vector_of(file.value, str(path))
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(file.data).digest())
    return found, digest.hexdigest()


def _texts(folder: Path, request: ImportRequest) -> dict[int, str]:
    """Return index -> architecture by the files beside the latencies, nothing where there are none."""
    if request.space == "fbnet" and (folder / _FBNET).exists():
        return _of_fbnet(folder / _FBNET)
    if request.space == "nasbench201" and (folder / _TEXTS).exists():
        value = read_torch_file(folder / _TEXTS).value
        if not isinstance(value, dict) or not all(_is_pair(pair) for pair in value.items()):
            raise BadFile(f"{folder / _TEXTS} is no dictionary of architecture -> index")
        texts = parsed(list(value), request, first_row=0)
        return dict(zip(value.values(), texts, strict=True))
    return {}


def _of_fbnet(path: Path) -> dict[int, str]:
    space = load_space("fbnet")
    value = read_torch_file(path).value
    listed = value.get("arch") if isinstance(value, dict) else None
    try:
        rows = [vector_of(item["op_idx_list"], f"{path}, arch {i}") for i, item in enumerate(listed or ())]
        return {index: space.architecture(tuple(map(int, row))).text for index, row in enumerate(rows)}
    except (TypeError, ValueError, LookupError) as error:
        raise BadFile(
            f"{path} does not list the architectures of FBNet: {error}",
            'It should hold {"arch": [{"op_idx_list": [0, 8, ...]}, ...]}.',
        ) from error


def _is_pair(pair: tuple[object, object]) -> bool:
    return isinstance(pair[0], str) and type(pair[1]) is int


def _column(name: str, vector: NDArray[np.float64], n: int, request: ImportRequest, usual: str | None) -> Column:
    unit = said_unit(request, name, usual)
    values = np.full(n, np.nan)
    values[: len(vector)] = vector
    match = _BATCH.fullmatch(name)
    batch = request.batch_of(name, int(match[1]) if match else None)
    return Column(name, dimension_of(unit), unit, in_si(values, unit, name, request.path), batch=batch)
