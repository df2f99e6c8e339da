"""The usual augmentations of small images, for a whole batch at once.

Images have the shape (n, channels, height, width). Numbers are drawn on the CPU, so that every device sees the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from hilnas.errors import UnknownName

Augment = Callable[[Tensor, Generator], Tensor]


def crop(images: Tensor, generator: Generator) -> Tensor:
    """Return random windows of the images with a border of zeros around them, an eighth of a side wide.

    Source: He et al., CVPR 2016, section 4.2 (4 of 32 pixels).
    """
    n, _, height, width = images.shape
    device = images.device
    border = (max(1, height // 8), max(1, width // 8))
    padded = functional.pad(images, (border[1], border[1], border[0], border[0]))
    rows = _places(2 * border[0] + 1, n, generator).to(device) + torch.arange(height, device=device)
    columns = _places(2 * border[1] + 1, n, generator).to(device) + torch.arange(width, device=device)
    numbers = torch.arange(n, device=device)[:, None, None]
    return padded[numbers, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Return the images, each with a chance of one half mirrored left to right."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(-1), images)


def cutout(images: Tensor, generator: Generator) -> Tensor:
    """Return the images with zeros in a rectangle of half their sides whose centre is anywhere.

    Source: DeVries and Taylor, arXiv:1708.04552 (16 of 32 pixels).
    """
    n, _, height, width = images.shape
    rows, columns = (_covered(side, n, generator).to(images.device) for side in (height, width))
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


AUGMENTATIONS: dict[str, Augment] = {"crop": crop, "flip": flip, "cutout": cutout}


def augmentations(text: str) -> Sequence[Augment]:
    """Return the functions of a text such as `crop,flip`, none of `none`; raise UnknownName for another name."""
    names = [] if text == "none" else text.split(",")
    unknown = next((name for name in names if name not in AUGMENTATIONS), None)
    if unknown is not None:
        raise UnknownName("augmentation", unknown, [*AUGMENTATIONS, "none"])
    return [AUGMENTATIONS[name] for name in names]


def _places(choices: int, n: int, generator: Generator) -> Tensor:
    """Return n random indices, shape (n, 1)."""
    return torch.randint(choices, (n, 1), generator=generator)


def _covered(side: int, n: int, generator: Generator) -> Tensor:
    """Return which of `side` pixels lie in n windows of half of them, shape (n, side)."""
    start = _places(side, n, generator) - side // 4
    pixels = torch.arange(side)
    return (pixels >= start) & (pixels < start + max(1, side // 2))
