"""CIFAR-10 and CIFAR-100 in their Python version: pickles, read without pickle (nothing in them is executed)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile
from profiler.importers._pickled_names import Dialect, PlainArray
from profiler.importers._pickles import load_plain
from profiler.importers._reading import read_bytes
from searchers.image_data._base import MAX_BYTES, ArraySource, ImageFormat, ImageSource

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
#: CIFAR-10's labels, and the finer ones of CIFAR-100.
_LABELS = ("labels", "fine_labels")


class CifarPickle(ImageFormat):
    """`data_batch_*` (CIFAR-10) or `train` with `meta` beside it (CIFAR-100, its fine labels)."""

    files = "data_batch_1 ... or train with meta"

    def recognises(self, path: Path) -> bool:
        """Return whether one of the files is there."""
        return bool(_batches(path)) or ((path / "train").is_file() and (path / "meta").is_file())

    def read(self, path: Path) -> ImageSource:
        """Return the images of all batches."""
        pixels, labels = zip(*(_read(batch) for batch in _batches(path) or [path / "train"]), strict=True)
        return ArraySource(np.concatenate(pixels), np.concatenate(labels), path)


class _Pixels(PlainArray):
    """An array that counts as one value: nobody walks through its bytes one by one, and there is a file of them."""

    def fill(self, values: NDArray[Any]) -> None:
        """Take the values."""
        super().fill(values)
        self.held = 1


_DIALECT = Dialect(calls={"numpy.core.multiarray._reconstruct": lambda arguments: _Pixels()})


def _batches(folder: Path) -> list[Path]:
    return sorted(item for item in folder.glob("data_batch_[0-9]") if item.is_file())


def _read(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return pixels (n, 3, 32, 32) and labels (n,) of a file; raise BadFile."""
    found = load_plain(read_bytes(path, MAX_BYTES), path, _DIALECT)
    if not isinstance(found, dict):
        raise BadFile(f"{path} holds no dictionary of images", "It is another file of its name.")
    # Whoever wrote the file again with Python 3 has bytes for keys.
    fields = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in found.items()}
    labels = next((fields[name] for name in _LABELS if name in fields), None)
    return _pixels(fields.get("data"), path), _labels(labels, path)


def _pixels(data: Any, path: Path) -> NDArray[Any]:
    values = data.values if isinstance(data, PlainArray) else np.empty(0)
    if values.dtype != np.uint8 or values.ndim != 2 or values.shape[1] != _PIXELS:
        raise BadFile(f"{path} holds no rows of {_PIXELS} bytes as `data`", "It is damaged, or no batch of CIFAR.")
    return values.reshape(-1, *_SHAPE)


def _labels(labels: Any, path: Path) -> NDArray[np.int64]:
    if not isinstance(labels, list) or not all(type(item) is int and 0 <= item < 100 for item in labels):
        raise BadFile(f"{path} has no list of labels from 0 to 99", "It is damaged, or no batch of CIFAR.")
    return np.array(labels, np.int64)
