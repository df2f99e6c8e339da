"""The contract of an image format, and what all formats share: images whose pixels are read when they are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import BadFile

#: Bytes of one file once it is unpacked; the largest of the well-known sets has 550 million.
MAX_BYTES = 1 << 30
_MAX_CLASSES = 10_000
_MAX_SIDE = 1 << 14


class ImageSource(ABC):
    """Images with one label each: 0, 1, ... in the order of what the labels were."""

    def __init__(self, labels: NDArray[Any], where: Path | str) -> None:
        """Number the labels; raise BadFile for none, for labels that are no integers, and for one class only."""
        self.labels = _numbered(labels, where)
        self.classes = int(self.labels.max()) + 1

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Return height and width of the images as they are stored (of the first, where they differ)."""

    @abstractmethod
    def pixels(self, chosen: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return the chosen images at a size (height, width), shape (n, 3, height, width), values in [0, 1]."""


class ImageFormat(ABC):
    """Finds and reads one format; what is found is not trusted: sizes are limited, nothing is executed.

    Only images for training are read. Those a distribution keeps for testing choose nothing.
    """

    #: What its files are called, for people.
    files: ClassVar[str]

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Return whether a file or folder looks like this format, by names alone."""

    @abstractmethod
    def read(self, path: Path) -> ImageSource:
        """Return the images of a file or folder that is recognised; raise BadFile."""


class ArraySource(ImageSource):
    """Images in memory, shape (n, channels, height, width): 1 or 3 channels, uint8 or floats in [0, 1]."""

    def __init__(self, pixels: NDArray[Any], labels: NDArray[Any], where: Path | str) -> None:
        """Check that images and labels fit together; raise BadFile."""
        if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or not 0 < min(pixels.shape[2:]) <= _MAX_SIDE:
            raise BadFile(f"{where} holds no images: an array of shape {pixels.shape}")
        if len(pixels) != len(labels):
            raise BadFile(
                f"{where} holds {len(pixels)} images but {len(labels)} labels", "It was not downloaded completely."
            )
        super().__init__(labels, where)
        self._pixels = pixels

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width."""
        height, width = self._pixels.shape[2:]
        return height, width

    def pixels(self, chosen: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return the chosen images, resized bilinearly (smoothed first where they shrink); grey in all channels."""
        taken = self._pixels[chosen]
        images = taken.astype(np.float32)
        if taken.dtype == np.uint8:
            images /= 255
        resized = images if size == self.size else _resized(images, size)
        return np.ascontiguousarray(np.broadcast_to(resized, (len(images), 3, *size)))


def _resized(images: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    import torch
    from torch.nn import functional

    resized = functional.interpolate(torch.from_numpy(images), size, mode="bilinear", antialias=True)
    found: NDArray[np.float32] = resized.clamp_(0, 1).numpy()
    return found


def _numbered(labels: NDArray[Any], where: Path | str) -> NDArray[np.int64]:
    if not labels.size:
        raise BadFile(f"{where} holds no image with a label")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise BadFile(f"the labels of {where} are {labels.dtype} of shape {labels.shape}, not one integer an image")
    values, numbers = np.unique(labels, return_inverse=True)
    if len(values) == 1:
        raise BadFile(
            f"all {len(labels)} images of {where} are of one class",
            "There is nothing to tell apart.",
            "Name a data set of two classes or more.",
        )
    if len(values) > _MAX_CLASSES:
        raise BadFile(f"{where} has {len(values)} classes, more than {_MAX_CLASSES}", "Are these labels of classes?")
    return numbers.astype(np.int64)
