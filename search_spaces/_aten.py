"""What is known of torch's own operators: which have multiply-adds, which have none, whose results are plain to see.

Operators are taken as a dispatch mode sees them: `linear`, `matmul` and `einsum` have become `addmm`, `mm` and `bmm`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def _convolution(args: Any, result: Tensor) -> int:
    """Count weights x positions: those of the output, or of the input where the convolution is transposed."""
    x, weight, transposed = args[0], args[1], args[6]
    positions: int = prod((x if transposed else result).shape[2:])
    return int(x.shape[0] * weight.numel() * positions)


def _product(first: int) -> Callable[[Any, Any], int]:
    """Count a product of the arguments `first` and `first + 1`: (..., m, k) by (..., k, n)."""

    def count(args: Any, result: Any) -> int:
        a, b = args[first], args[first + 1]
        return int(a.numel() * (b.shape[-1] if b.dim() > 1 else 1))

    return count


def _attention(args: Any, result: Any) -> int:
    """Count queries by keys and weights by values; keys and values may have fewer heads."""
    query, key, value = args[:3]
    return int(prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


def _recurrent(args: Any, result: Any) -> int:
    """Count the products of one layer and direction: input (steps, batch, features) and hidden state by weights."""
    x, of_input, of_hidden = args[:3]
    return int(prod(x.shape[:-1]) * (of_input.numel() + of_hidden.numel()))


#: Operator -> its multiply-adds, from its arguments and its result.
COUNTED: dict[Any, Callable[[Any, Any], int]] = {
    aten.convolution: _convolution,
    aten.mm: _product(0),
    aten._int_mm: _product(0),
    aten._scaled_mm: _product(0),
    aten.mv: _product(0),
    aten.dot: _product(0),
    aten.vdot: _product(0),
    aten.bmm: _product(0),
    aten.addmm: _product(1),
    aten.addmv: _product(1),
    aten.baddbmm: _product(1),
    aten.addbmm: _product(1),
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
    aten._scaled_dot_product_cudnn_attention: _attention,
    aten.mkldnn_rnn_layer: _recurrent,
}

#: Known to have no multiply-adds of the kinds above, beside whatever torch itself marks as working element by element
#: or as a reduction. A trailing underscore (in place) is taken off before the look-up.
_POOLING = """
    avg_pool1d avg_pool2d avg_pool3d max_pool2d_with_indices max_pool3d_with_indices mkldnn_max_pool2d
    _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d upsample_nearest1d
    upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa upsample_trilinear3d
    upsample_bicubic2d _upsample_bicubic2d_aa"""
_NORMALISATION = """
    native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_no_update
    _batch_norm_with_update cudnn_batch_norm native_layer_norm native_group_norm _fused_rms_norm"""
_ELEMENTS = """
    _softmax _log_softmax _safe_softmax hardswish hardtanh glu _prelu_kernel native_dropout var_mean std_mean cumsum
    cumprod sort topk argsort max min median mode _unique2 bernoulli linalg_vector_norm"""
_MOVING = """
    clone copy _to_copy cat stack constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d
    replication_pad2d index index_select index_put _unsafe_index gather scatter slice_scatter select_scatter
    embedding repeat repeat_interleave roll flip tril triu im2col col2im channel_shuffle native_channel_shuffle
    pixel_shuffle pixel_unshuffle unsafe_split unsafe_split_with_sizes nonzero masked_select fill zero ones_like
    zeros_like full_like empty_like new_zeros new_ones new_full new_empty rand_like randn_like _local_scalar_dense
    uniform normal"""
_WITHOUT = frozenset(name for names in (_POOLING, _NORMALISATION, _ELEMENTS, _MOVING) for name in names.split())


@lru_cache(maxsize=4096)
def without_macs(operator: Any) -> bool:
    """Return whether an operator (an overload) is known to have no multiply-adds."""
    marks = {str(tag).rpartition(".")[2] for tag in operator.tags}
    if operator.namespace != "aten":
        return False
    return bool(marks & {"pointwise", "reduction"}) or operator._opname.rstrip("_") in _WITHOUT


def name_without_macs(name: str) -> bool:
    """Return whether torch has an operator of this name that is known to have no multiply-adds."""
    packet = getattr(aten, name, None)
    return packet is not None and any(without_macs(getattr(packet, overload)) for overload in packet.overloads())


@lru_cache(maxsize=4096)
def is_composite(operator: Any) -> bool:
    """Return whether an operator (an overload) is nothing but a function of other operators."""
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return operator.overloadpacket not in COUNTED and has_kernel(operator.name(), "CompositeImplicitAutograd")


def answer_at_once(operator: Any, args: Any, kwargs: Any) -> Any:
    """Return the result of a frequent operator on tensors without values, None for any other.

    torch works these out in Python from what they are made of, which takes a thousand times longer.
    """
    shape = _AT_ONCE.get(operator)
    if shape is None or kwargs or not args[0].is_meta or not args[0].is_floating_point():
        return None
    return shape(args)


def _like(x: Tensor) -> Tensor:
    # empty_like does the same, but in Python for tensors without values
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")


def _nothing(x: Tensor) -> Tensor:
    return torch.empty((0,), dtype=x.dtype, device="meta")


def _same(args: Any) -> Tensor:
    return _like(args[0])


def _in_place(args: Any) -> Any:
    return args[0]


def _pair(args: Any) -> Tensor | None:
    a, b = args[0], args[1]
    fits = len(args) == 2 and isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype and b.is_meta
    return _like(a) if fits else None


def _pair_in_place(args: Any) -> Any:
    return None if _pair(args) is None else args[0]


def _batch_norm(args: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    x, mean = args[0], args[3]
    fits = isinstance(mean, Tensor) and x.dim() > 1 and mean.numel() == x.shape[1]
    return (_like(x), _nothing(x), _nothing(x)) if fits else None


def _layer_norm(args: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    x, shape = args[0], list(args[1])
    fits = list(x.shape[-len(shape) :]) == shape
    return (_like(x), _nothing(x), _nothing(x)) if fits else None


def _at_once() -> dict[Any, Callable[[Any], Any]]:
    found: dict[Any, Callable[[Any], Any]] = {
        aten._softmax.default: _same,
        aten._safe_softmax.default: _same,
        aten.native_batch_norm.default: _batch_norm,
        aten.native_layer_norm.default: _layer_norm,
    }
    for name in ("relu", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "hardtanh"):
        found[getattr(aten, name).default] = _same
        found[getattr(aten, f"{name}_").default] = _in_place
    for name in ("add", "sub", "mul", "div"):
        found[getattr(aten, name).Tensor] = _pair
        found[getattr(aten, f"{name}_").Tensor] = _pair_in_place
    return found


_AT_ONCE = _at_once()
