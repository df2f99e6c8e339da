"""IDX: MNIST, Fashion-MNIST and their relatives, as they are distributed.

Two zero bytes, the type of the numbers (8: bytes), the number of dimensions, their sizes (big-endian, 32 bits), bytes.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile
from profiler.importers._reading import read_bytes
from searchers.image_data._base import MAX_BYTES, ArraySource, ImageFormat, ImageSource

_IMAGES, _LABELS = "train-images", "train-labels"
_BYTES = 8


class Idx(ImageFormat):
    """Images (n, height, width) and labels (n,) of one byte each, packed with gzip or not."""

    files = "train-images-idx3-ubyte and train-labels-idx1-ubyte, .gz or not"

    def recognises(self, path: Path) -> bool:
        """Return whether both files are there."""
        return _find(path, _IMAGES, 3) is not None and _find(path, _LABELS, 1) is not None

    def read(self, path: Path) -> ImageSource:
        """Return the images of the two files."""
        images, labels = (_read(_find(path, *what), what[1]) for what in ((_IMAGES, 3), (_LABELS, 1)))
        return ArraySource(images[:, None], labels, path)


def _find(folder: Path, stem: str, dimensions: int) -> Path | None:
    """Return the file of a part; mirrors write a dot for the second dash."""
    names = [f"{stem}{dash}idx{dimensions}-ubyte{end}" for end in ("", ".gz") for dash in "-."]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read(path: Path | None, dimensions: int) -> NDArray[Any]:
    """Return the array of a file; raise BadFile where head and length disagree."""
    if path is None:
        raise BadFile("a file of the data set is gone")
    data = read_bytes(path, MAX_BYTES)
    head = 4 + 4 * dimensions
    if len(data) < head or tuple(data[:4]) != (0, 0, _BYTES, dimensions):
        raise BadFile(
            f"{path} is no IDX file of bytes in {dimensions} dimension{'s' if dimensions > 1 else ''}",
            "It is damaged, or another file of its name.",
        )
    sizes = [int(size) for size in np.frombuffer(data, ">u4", dimensions, 4)]
    if prod(sizes) != len(data) - head:
        raise BadFile(
            f"{path} should hold {prod(sizes)} bytes after its head, but holds {len(data) - head}",
            "It was not downloaded completely, or is damaged.",
        )
    return np.frombuffer(data, np.uint8, offset=head).reshape(sizes)
