"""Memory that an operator takes while it runs, beside its inputs and results: oneDNN's copies in its own layout."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

#: Channels that stand together in oneDNN's layout where vectors have 512 bits (nChw16c, OIhw16i16o).
BLOCK = 16

Shape = Sequence[int]


def convolution_scratch(x: Shape, weight: Shape, y: Shape, itemsize: int) -> int:
    """Return bytes of the copies of input, weights and result that a convolution computes with.

    Shapes (batch, channels, ...) and (out, in per group, ...). oneDNN computes on channels in blocks: a tensor that
    comes in torch's order is copied, and so is the result before it goes back.
    """
    return itemsize * (_activations(x) + _weights(weight) + _activations(y))


def convolution_backward_scratch(x: Shape, weight: Shape, y: Shape, itemsize: int) -> int:
    """Return bytes of the copies that the gradients of a convolution are computed with.

    The gradients of input and weights are computed one after the other; each has copies of what it reads and writes.
    """
    return convolution_scratch(x, weight, y, itemsize)


def _activations(shape: Shape) -> int:
    """Return the numbers of a tensor in blocks; a picture of few channels is read as it is."""
    batch, channels, *rest = shape
    return batch * _padded(channels) * prod(rest) if channels >= BLOCK else 0


def _weights(shape: Shape) -> int:
    outputs, inputs, *rest = shape
    return _padded(outputs) * (_padded(inputs) if inputs >= BLOCK else inputs) * prod(rest)


def _padded(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK
