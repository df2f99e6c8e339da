"""Inverted residuals (MobileNetV2; Sandler et al., CVPR 2018), and the stem and the head around them."""

from __future__ import annotations

from functools import lru_cache

from search_spaces._graph import Block, Operator, TensorSpec


def inverted_residual(
    kind: str, before: TensorSpec, after: TensorSpec, kernel: int, stride: int, expansion: int, groups: int = 1
) -> Block:
    """Return widening, shuffle (of groups), depthwise convolution, narrowing, and a sum where shapes allow one."""
    batch, channels, *sides = before.shape
    wide = TensorSpec((batch, channels * expansion, *sides))
    operators = [*conv_bn("widen_", "in0", before, wide, groups=groups, relu=True)]
    if groups > 1:
        operators.append(Operator("shuffle", "channel_shuffle", ("widen_relu",), wide, wide, groups=groups))
    operators += _separable(operators[-1].name, wide, after, kernel, stride, groups)
    if before == after:
        operators.append(Operator("add", "add", ("narrow_bn", "in0"), after, after))
    return Block(kind, (before,), tuple(operators))


@lru_cache(maxsize=256)
def separable(kind: str, before: TensorSpec, after: TensorSpec, kernel: int) -> Block:
    """Return a depthwise convolution and narrowing: an inverted residual that does not widen, without a sum."""
    return Block(kind, (before,), _separable("in0", before, after, kernel, 1, 1))


def _separable(
    source: str, wide: TensorSpec, after: TensorSpec, kernel: int, stride: int, groups: int
) -> tuple[Operator, ...]:
    small = TensorSpec((*wide.shape[:2], *after.shape[2:]))
    deep = conv_bn("deep_", source, wide, small, kernel, stride, groups=wide.shape[1], relu=True)
    return (*deep, *conv_bn("narrow_", "deep_relu", small, after, groups=groups))


@lru_cache(maxsize=256)
def stem(entry: TensorSpec, spec: TensorSpec) -> Block:
    """Return the first convolution, of kernel 3, with normalisation and ReLU."""
    stride = entry.shape[2] // spec.shape[2]
    return Block("stem", (entry,), conv_bn("", "in0", entry, spec, kernel=3, stride=stride, relu=True))


@lru_cache(maxsize=256)
def head(spec: TensorSpec, channels: int, classes: int) -> Block:
    """Return a pointwise convolution with normalisation and ReLU, the mean over the picture, and a classifier."""
    batch, _, *sides = spec.shape
    wide, pooled = TensorSpec((batch, channels, *sides)), TensorSpec((batch, channels))
    operators = (
        *conv_bn("", "in0", spec, wide, relu=True),
        Operator("pool", "global_avg_pool", ("relu",), wide, pooled),
        Operator("classifier", "linear", ("pool",), pooled, TensorSpec((batch, classes)), bias=True),
    )
    return Block(f"head{channels}", (spec,), operators)


def conv_bn(
    prefix: str,
    source: str,
    before: TensorSpec,
    after: TensorSpec,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    relu: bool = False,
) -> tuple[Operator, ...]:
    """Return convolution, normalisation and, where wanted, ReLU, each named with the prefix."""
    conv, bn = f"{prefix}conv", f"{prefix}bn"
    found = (
        Operator(conv, "conv2d", (source,), before, after, kernel, stride, kernel // 2, groups),
        Operator(bn, "batch_norm", (conv,), after, after),
    )
    return (*found, Operator(f"{prefix}relu", "relu", (bn,), after, after)) if relu else found
