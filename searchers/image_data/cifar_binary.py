"""CIFAR-10 and CIFAR-100 in their binary version: a label (CIFAR-100: coarse, fine) and 3 x 32 x 32 bytes each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile
from profiler.importers._reading import read_bytes
from searchers.image_data._base import MAX_BYTES, ArraySource, ImageFormat, ImageSource

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32


class CifarBinary(ImageFormat):
    """`data_batch_*.bin` (CIFAR-10) or `train.bin` (CIFAR-100, its fine labels)."""

    files = "data_batch_1.bin ... or train.bin"

    def recognises(self, path: Path) -> bool:
        """Return whether one of the files is there."""
        return bool(_batches(path)) or (path / "train.bin").is_file()

    def read(self, path: Path) -> ImageSource:
        """Return the images of all batches."""
        if batches := _batches(path):
            records = np.concatenate([_records(batch, labels=1) for batch in batches])
        else:
            records = _records(path / "train.bin", labels=2)
        return ArraySource(records[:, -_PIXELS:].reshape(-1, *_SHAPE), records[:, -_PIXELS - 1], path)


def _batches(folder: Path) -> list[Path]:
    return sorted(item for item in folder.glob("data_batch_*.bin") if item.is_file())


def _records(path: Path, labels: int) -> NDArray[Any]:
    """Return the records of a file, shape (n, labels + pixels); raise BadFile for a torn one and a strange label."""
    data = np.frombuffer(read_bytes(path, MAX_BYTES), np.uint8)
    length = labels + _PIXELS
    if not data.size or data.size % length:
        raise BadFile(
            f"{path} holds {data.size} bytes, no multiple of the {length} of a record",
            "It was not downloaded completely, or is another file of its name.",
        )
    records = data.reshape(-1, length)
    known = 10 if labels == 1 else 100
    if (worst := records[:, labels - 1].max()) >= known:
        raise BadFile(f"{path} has the label {worst}; CIFAR-{known} has none above {known - 1}", "It is another file.")
    return records
