"""numpy's archives: `x`, the images, and `y`, their labels. Objects (pickles) are refused before they are read."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hilnas.errors import BadFile
from searchers.image_data._base import MAX_BYTES, ArraySource, ImageFormat, ImageSource

#: What taking an archive apart may raise.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError, OSError)


class Npz(ImageFormat):
    """One .npz file, or a folder with one; channels of x may be first, last or none."""

    files = "one .npz file with the arrays x and y"

    def recognises(self, path: Path) -> bool:
        """Return whether the path is such a file, or a folder with exactly one."""
        return _find(path) is not None

    def read(self, path: Path) -> ImageSource:
        """Return the images of the archive."""
        file = _find(path)
        if file is None:
            raise BadFile(f"{path} is gone")
        try:
            with zipfile.ZipFile(file) as archive:
                images, labels = (_array(archive, name, file) for name in ("x", "y"))
        except _DAMAGED as error:
            raise BadFile(f"{file} is damaged: {error}", "It was not downloaded or copied completely.") from error
        return ArraySource(_channels_first(_in_range(images, file), file), labels, file)


def _find(path: Path) -> Path | None:
    if path.suffix == ".npz" and path.is_file():
        return path
    found = [item for item in path.glob("*.npz") if item.is_file()] if path.is_dir() else []
    return found[0] if len(found) == 1 else None


def _array(archive: zipfile.ZipFile, name: str, file: Path) -> NDArray[Any]:
    """Return an array whose head agrees with its bytes; raise BadFile for another, and for one of objects."""
    member = f"{name}.npy"
    if member not in archive.namelist():
        raise BadFile(f"{file} has no array {name!r}", "", f"Write it with numpy.savez({str(file)!r}, x=..., y=...)")
    if archive.getinfo(member).file_size > MAX_BYTES:
        raise BadFile(f"{name!r} of {file} holds more than {MAX_BYTES >> 20} MiB")
    data = io.BytesIO(archive.read(member))
    try:
        read_head = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(data)]
        shape, columns_first, dtype = read_head(data)
    except Exception as error:  # the head is a literal of Python, which can be wrong in many ways
        raise BadFile(f"{name!r} of {file} is no array: {str(error)[:200]}") from error
    if dtype.kind not in "uif":
        raise BadFile(f"{name!r} of {file} is an array of {dtype}, not of plain numbers", "Nothing in it was executed.")
    content = data.read()
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != len(content):
        raise BadFile(f"{name!r} of {file} does not have as many bytes as its shape {shape} says", "It is damaged.")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if columns_first else "C")


def _in_range(images: NDArray[Any], file: Path) -> NDArray[Any]:
    """Return images as bytes or float32; raise BadFile for other integers and for floats outside [0, 1]."""
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f" or not images.size or not (images.min() >= 0 and images.max() <= 1):
        raise BadFile(f"x of {file} is {images.dtype}: it must be uint8, or floats from 0 to 1")
    return images.astype(np.float32)


def _channels_first(images: NDArray[Any], file: Path) -> NDArray[Any]:
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return images.transpose(0, 3, 1, 2)
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    raise BadFile(f"x of {file} has the shape {images.shape}, which is none of images")
