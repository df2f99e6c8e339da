"""Runs of operators that several spaces are made of."""

from __future__ import annotations

from functools import lru_cache

from search_spaces._graph import Block, Operator, TensorSpec


def relu_conv_bn(
    prefix: str, source: str, before: TensorSpec, after: TensorSpec, kernel: int, stride: int = 1
) -> tuple[Operator, ...]:
    """Return ReLU, convolution and normalisation, each named with the prefix."""
    relu, conv = f"{prefix}relu", f"{prefix}conv"
    return (
        Operator(relu, "relu", (source,), before, before),
        Operator(conv, "conv2d", (relu,), before, after, kernel=kernel, stride=stride, padding=kernel // 2),
        Operator(f"{prefix}bn", "batch_norm", (conv,), after, after),
    )


@lru_cache(maxsize=256)
def pointwise(before: TensorSpec, after: TensorSpec) -> Block:
    """Return ReLU, a pointwise convolution and normalisation: the way to another number of channels."""
    return Block("relu_conv_bn", (before,), relu_conv_bn("", "in0", before, after, 1))
