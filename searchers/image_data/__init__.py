"""Labelled images: one public module a format; scikit-learn's digits where nobody names a folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilnas import plugins
from hilnas.errors import BadFile, UsageError
from searchers.image_data._base import ArraySource, ImageFormat, ImageSource

#: Share of the images that judges and is never trained on.
VALIDATION_SHARE = 0.25
_PACKAGE = "searchers.image_data"


@dataclass(frozen=True, eq=False)
class Images:
    """Images (n, 3, height, width), float32 in [0, 1], labels (n,), int64 from 0, and where they are from."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    source: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to train on and others to judge by, with the mean and deviation of the former, shape (3,)."""

    train: Images
    validation: Images
    classes: int
    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @property
    def fingerprint(self) -> str:
        """Return a hash of all pixels and labels, 16 hexadecimal digits."""
        found = hashlib.sha256()
        for part in (self.train, self.validation):
            found.update(repr(part.images.shape).encode())
            found.update(part.images.tobytes())
            found.update(part.labels.tobytes())
        return found.hexdigest()[:16]


def load_images(folder: Path | None, n: int, seed: int, size: tuple[int, int] | None = None) -> Images:
    """Return n images chosen by the seed, all classes in their proportions; `size` is height and width, None as stored.

    `folder` names a data set in one of the formats here, None scikit-learn's 1,797 digits of 8 x 8.
    Raises BadFile for files that cannot be used and UsageError for more images than there are.
    """
    source, name = _open(folder)
    if not 0 < n <= len(source.labels):
        raise UsageError(f"a batch of {n} images was asked for; {name} has {len(source.labels)}", "", "Take fewer.")
    return _take(source, name, stratified_order(source.labels, seed)[:n], size)


def load_dataset(
    folder: Path | None, seed: int, images: int | None = None, size: tuple[int, int] | None = None
) -> Dataset:
    """Return images to train on and a quarter to judge by, chosen and split by the seed; at most `images` in all.

    Raises BadFile for files that cannot be used and UsageError for fewer than 4 images.
    """
    source, name = _open(folder)
    order = stratified_order(source.labels, seed)[:images]
    if len(order) < 4:
        raise UsageError(f"{len(order)} images are too few to train and to judge", "", "Take more images.")
    held_out = round(VALIDATION_SHARE * len(order))
    train, validation = (_take(source, name, part, size) for part in (order[held_out:], order[:held_out]))
    axes = (0, 2, 3)
    # In double precision: sums of millions of single ones depend on how they are added up.
    mean = train.images.mean(axes, dtype=np.float64).astype(np.float32)
    std = train.images.std(axes, dtype=np.float64).astype(np.float32)
    std[std == 0] = 1
    return Dataset(train, validation, source.classes, mean, std)


def load_rest(folder: Path | None, seed: int, images: int, size: tuple[int, int], most: int) -> Images:
    """Return up to `most` images that `load_dataset` of the same seed and number of images does not return.

    Raises BadFile for files that cannot be used and UsageError where no image is left.
    """
    source, name = _open(folder)
    rest = stratified_order(source.labels, seed)[images : images + most]
    if not len(rest):
        raise UsageError(
            f"no image of {name} is left to test with: {images} of {len(source.labels)} are searched with",
            "What a winner is worth is told by pictures that chose nothing.",
            "Search with fewer: --set images=N",
        )
    return _take(source, name, rest, size)


def count_images(folder: Path | None) -> int:
    """Return how many images a data set has; raise BadFile for files that cannot be used."""
    return len(_open(folder)[0].labels)


def stratified_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return a random order of which every beginning holds the classes as nearly as can be in their proportions."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    within = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    # The i-th of m images of a class belongs at the share (i + 1/2) / m of the whole; ties in random order.
    place = np.empty(len(labels))
    place[by_class] = (within + 0.5) / np.repeat(counts, counts)
    order: NDArray[np.int64] = shuffled[np.argsort(place[shuffled], kind="stable")]
    return order


def _take(source: ImageSource, name: str, chosen: NDArray[np.int64], size: tuple[int, int] | None) -> Images:
    return Images(source.pixels(chosen, size or source.size), source.labels[chosen], name)


def _open(folder: Path | None) -> tuple[ImageSource, str]:
    """Return the images of a folder or file and their name; raise BadFile where no format fits, or more than one."""
    if folder is None:
        return _digits(), "digits"
    if not folder.exists():
        raise BadFile(f"there is no {folder}", "", "Name the folder with the images in it.")
    formats = {name: plugins.load(_PACKAGE, name, ImageFormat, "image format")() for name in plugins.names(_PACKAGE)}
    try:
        found = [name for name, item in formats.items() if item.recognises(folder)]
        if len(found) == 1:
            return formats[found[0]].read(folder), f"{found[0]}:{folder.resolve().name}"
    except OSError as error:
        raise BadFile(f"{folder} cannot be read: {error.strerror or error}") from error
    if found:
        raise BadFile(f"{folder} holds several formats: {', '.join(found)}", "", "Keep one of them in a folder.")
    known = "; ".join(f"{name}: {item.files}" for name, item in formats.items())
    raise BadFile(f"{folder} holds no images in a format that is known", f"Known: {known}.", _nearby(folder, formats))


def _nearby(folder: Path, formats: dict[str, ImageFormat]) -> str:
    """Return which sub-folder was meant, where one is."""
    inside = sorted(item for item in folder.iterdir() if item.is_dir()) if folder.is_dir() else []
    meant = next((item for item in inside if any(format.recognises(item) for format in formats.values())), None)
    return "Name the folder with the images in it." if meant is None else f"Did you mean {meant}?"


def _digits() -> ImageSource:
    from sklearn.datasets import load_digits

    found = load_digits()
    return ArraySource((found.images[:, None] / 16).astype(np.float32), found.target, "scikit-learn's digits")
