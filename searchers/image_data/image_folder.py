"""A folder of PNG or JPEG files for every class."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile
from searchers.image_data._base import ImageFormat, ImageSource

_ENDINGS = (".png", ".jpg", ".jpeg")
_MAX_IMAGES = 5_000_000
_MAX_FILE_BYTES = 64 << 20
_MAX_PIXELS = 1 << 26
#: What pillow calls images of one bit or one byte a channel.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV")


class ImageFolder(ImageFormat):
    """`FOLDER/CLASS/anything.png`: classes are numbered in the order of their names."""

    files = "one folder a class, with PNG or JPEG files in it"

    def recognises(self, path: Path) -> bool:
        """Return whether a sub-folder has such a file."""
        return path.is_dir() and any(_has_image(folder) for folder in _classes(path))

    def read(self, path: Path) -> ImageSource:
        """Return the images of all sub-folders; raise BadFile for a class without any."""
        paths: list[Path] = []
        labels: list[int] = []
        for number, folder in enumerate(_classes(path)):
            found = _images(folder)
            if not found:
                raise BadFile(f"the class {folder.name!r} of {path} has no PNG or JPEG file")
            paths += found
            labels += [number] * len(found)
            if len(paths) > _MAX_IMAGES:
                raise BadFile(f"{path} holds more than {_MAX_IMAGES} images")
        return _Files(paths, labels, path)


class _Files(ImageSource):
    """Files that are decoded when their pixels are asked for."""

    def __init__(self, paths: list[Path], labels: list[int], where: Path) -> None:
        super().__init__(np.array(labels, np.int64), where)
        self._paths = paths

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of the first image."""
        _, height, width = decoded(self._paths[0], None).shape
        return height, width

    def pixels(self, chosen: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return the chosen images, resized bilinearly by pillow (smoothed first where they shrink)."""
        images = np.empty((len(chosen), 3, *size), np.float32)
        for place, number in enumerate(chosen):
            images[place] = decoded(self._paths[number], size)
        return images


def decoded(path: Path, size: tuple[int, int] | None) -> NDArray[np.float32]:
    """Return an image (3, height, width) in [0, 1], at a size (height, width) or its own; raise BadFile."""
    from PIL import Image

    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise BadFile(f"{path} is larger than {_MAX_FILE_BYTES >> 20} MiB")
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > _MAX_PIXELS or image.mode not in _MODES:
                what = f"{image.width} x {image.height} pixels in mode {image.mode}"
                raise BadFile(f"{path} has {what}: too many, or not 8 bits a channel")
            colours = image.convert("RGB")
            if size is not None:
                colours = colours.resize(size[::-1], Image.Resampling.BILINEAR)
            pixels = np.asarray(colours, np.float32)
    except BadFile:
        raise
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        raise BadFile(f"{path} cannot be decoded: {str(error)[:200]}", "It is damaged, or no PNG or JPEG.") from error
    found: NDArray[np.float32] = pixels.transpose(2, 0, 1) / np.float32(255)
    return found


def _classes(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))


def _has_image(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(_is_image(entry) for entry in entries)


def _images(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if _is_image(entry))


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(_ENDINGS) and entry.is_file()
