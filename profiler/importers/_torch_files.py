"""Files of torch.save that hold plain values or vectors: an archive with a pickle and the bytes of its tensors.

They are read without torch. `torch.load(weights_only=True)` would execute nothing either, but it takes the size of a
storage from the pickle on trust and knows no arrays of numpy; here sizes are compared with the bytes that are there.
torch.save compresses nothing, so an archive that could unfold is refused before anything of it is read.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilnas.errors import BadFile
from profiler.importers._pickled_names import Dialect, Name, PlainArray, Refused
from profiler.importers._pickles import load_plain
from profiler.importers._reading import read_bytes

_MAX_BYTES = 64 * 2**20
_MAX_MEMBERS = 64
_ARCHIVE = b"PK\x03\x04"
_REBUILD = "torch._utils._rebuild_tensor_v2"
_STORAGES = {
    "torch.DoubleStorage": "f8", "torch.FloatStorage": "f4", "torch.HalfStorage": "f2", "torch.LongStorage": "i8",
    "torch.IntStorage": "i4", "torch.ShortStorage": "i2", "torch.CharStorage": "i1", "torch.ByteStorage": "u1",
}  # fmt: skip


@dataclass(frozen=True)
class TorchFile:
    """The value of a file, and its bytes as they were read."""

    value: Any
    data: bytes


@dataclass(frozen=True, slots=True)
class _Storage:
    """Where the numbers of a tensor lie."""

    member: str
    kind: str
    length: int


def read_torch_file(path: Path) -> TorchFile:
    """Return what a file holds: plain values, vectors as PlainArray; raise BadFile for anything else."""
    data = read_bytes(path, _MAX_BYTES)
    members = _members(data, path)
    pickled = [name for name in members if name.rsplit("/", 1)[-1] == "data.pkl"]
    if len(pickled) != 1:
        raise BadFile(f"{path} is an archive, but none of torch.save", "It has no data.pkl.")
    folder = pickled[0].removesuffix("data.pkl")
    dialect = Dialect(
        names=frozenset(_STORAGES),
        calls={_REBUILD: lambda arguments: _vector(arguments, members, folder)},
        persistent=_storage,
    )
    return TorchFile(load_plain(members[pickled[0]], path, dialect), data)


def _members(data: bytes, path: Path) -> dict[str, bytes]:
    """Return the members of the archive by name; raise BadFile for one that would unfold, or is no archive."""
    if not data.startswith(_ARCHIVE):
        raise BadFile(
            f"{path} is no archive of torch.save",
            "It was written by torch before 1.6, or is no torch file.",
            "Load it and save it again with a newer torch, or write its numbers as CSV.",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = archive.infolist()
            _refuse_bombs(found, len(data), path)
            return {member.filename: archive.read(member) for member in found}
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, OSError) as error:
        raise BadFile(f"{path} is damaged: {error}", "It was not downloaded completely.") from error


def _refuse_bombs(members: list[zipfile.ZipInfo], size: int, path: Path) -> None:
    if len(members) > _MAX_MEMBERS or len({member.filename for member in members}) < len(members):
        raise BadFile(f"{path} is refused: it has {len(members)} members, or two of one name")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise BadFile(f"{path} is refused: it is compressed", "torch.save compresses nothing; it may be a zip bomb.")
    if sum(max(member.file_size, member.compress_size) for member in members) > size:
        raise BadFile(f"{path} is refused: its members are larger than the file", "It may be a zip bomb.")


def _storage(identity: Any) -> _Storage:
    """Return the storage of ("storage", type, member, device, length); raise Refused for another identity."""
    if not isinstance(identity, tuple) or len(identity) != 5 or identity[0] != "storage":
        raise Refused("it refers to something that is no storage of a tensor")
    _, kind, member, _, length = identity
    if not isinstance(kind, Name) or str(kind) not in _STORAGES:
        raise Refused("it holds a tensor of another type than plain numbers")
    if not isinstance(member, str) or type(length) is not int or length < 0:
        raise Refused("it holds a tensor without a place or length")
    return _Storage(member, _STORAGES[str(kind)], length)


def _vector(arguments: tuple[Any, ...], members: Mapping[str, bytes], folder: str) -> PlainArray:
    """Return the numbers of a dense vector; raise Refused for another tensor and for one larger than its bytes."""
    if len(arguments) < 4 or not isinstance(arguments[0], _Storage):
        raise Refused("it holds a tensor without a storage")
    storage, offset, shape, stride = arguments[:4]
    plain = type(offset) is int and isinstance(shape, tuple) and isinstance(stride, tuple)
    if not plain or len(shape) != 1 or stride != (1,) or type(shape[0]) is not int or min(offset, shape[0]) < 0:
        raise Refused("it holds a tensor that is no vector")
    order = ">" if members.get(folder + "byteorder") == b"big" else "<"
    dtype = np.dtype(order + storage.kind)
    data = members.get(f"{folder}data/{storage.member}", b"")
    if len(data) != storage.length * dtype.itemsize or offset + shape[0] > storage.length:
        raise Refused("it holds a tensor that is larger than its bytes")
    return PlainArray(np.frombuffer(data, dtype)[offset : offset + shape[0]])
