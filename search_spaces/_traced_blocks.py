"""The operators of a trace as blocks of a graph: which are of a known kind, and what the others cost.

An operator is of a known kind only where our own fits exactly, its weights included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch

from hilnas.records import content_hash
from search_spaces._aten import COUNTED
from search_spaces._graph import Block, Operator, TensorSpec, Traced

#: How many parameters an operator is the first to read through an argument; None for a tensor of the network.
Role = int | None


class Leaf(NamedTuple):
    """An argument that is no tensor; the type keeps 1, 1.0 and True apart."""

    kind: str
    value: Any


class Like(NamedTuple):
    """The type of an argument that is a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Like:
        """Return the type of a tensor."""
        return cls(tuple(tensor.shape), tensor.dtype)

    @property
    def spec(self) -> TensorSpec:
        """Return the type as graphs know it."""
        return TensorSpec(self.shape, 8 * self.dtype.itemsize)


class Use(NamedTuple):
    """One use of an operator: its overload and what it is called with, as `Like`, `Leaf` and tuples of them."""

    function: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Use:
        """Return the use that a call is."""
        return cls(function, tuple(map(_frozen, args)), tuple((name, _frozen(item)) for name, item in kwargs.items()))

    @property
    def name(self) -> str:
        """Return the operator's name; what works in place has that of what does not."""
        name: str = self.function._opname
        return name.rstrip("_")

    @property
    def tensors(self) -> list[Like]:
        """Return the arguments that are tensors, in order."""
        return list(_likes((*self.args, *(item for _, item in self.kwargs))))

    @property
    def values(self) -> list[Any]:
        """Return the positional arguments as they were, None for tensors."""
        return [None if isinstance(item, Like) else _thawed(item) for item in self.args]

    def to_json(self) -> Any:
        """Return the use as a JSON value."""
        overload = f"{self.name}.{self.function._overloadname}"
        return [overload, *map(_json, self.args), *([name, _json(item)] for name, item in self.kwargs)]


def tensors_of(items: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors among the arguments or results of an operator, in order."""
    if isinstance(items, torch.Tensor):
        yield items
    elif isinstance(items, (list, tuple)):
        for item in items:
            yield from tensors_of(item)


@lru_cache(maxsize=1 << 14)
def block_of(use: Use, roles: tuple[Role, ...], output: TensorSpec) -> Block:
    """Return the block of one operator; `roles` has an entry a tensor argument."""
    inputs = tuple(like.spec for like, role in zip(use.tensors, roles, strict=True) if role is None)
    names = tuple(f"in{i}" for i in range(len(inputs)))
    fields = _KNOWN[use.name](use, roles, output) if use.name in _KNOWN else None
    if fields is None:
        traced = _traced(use, roles, inputs, output)
        operator = Operator(use.name, "traced", names, (*inputs, output)[0], output, traced=traced)
        return Block(f"{use.name}.{traced.attributes}", inputs, (operator,))
    kind, window = fields
    operator = Operator(kind, kind, names, inputs[0], output, **window)
    details = "".join(f"_{name[0]}{int(value)}" for name, value in window.items())
    return Block(kind + details, inputs, (operator,))


@lru_cache(maxsize=1 << 14)
def view_block(before: TensorSpec, after: TensorSpec) -> Block:
    """Return the block of an operator that moves nothing."""
    return Block("view", (before,), (Operator("view", "traced", ("in0",), before, after, traced=Traced("view")),))


@lru_cache(maxsize=1 << 14)
def joined(first: Block, second: Block) -> Block:
    """Return two blocks of one operator each as one; the second reads nothing but the result of the first."""
    (before,), (after,) = first.operators, second.operators
    return Block(f"{first.kind}+{second.kind}", first.inputs, (before, replace(after, inputs=(before.name,))))


def _frozen(item: Any) -> Any:
    if isinstance(item, torch.Tensor):
        return Like.of(item)
    if isinstance(item, (list, tuple)):
        return tuple(map(_frozen, item))
    if isinstance(item, torch.device):
        return Leaf("device", None)  # where it is traced says nothing about the network
    return Leaf(type(item).__name__, item)


def _thawed(item: Any) -> Any:
    if isinstance(item, Leaf):
        return item.value
    if isinstance(item, Like):
        return torch.empty(item.shape, dtype=item.dtype, device="meta")
    return [_thawed(part) for part in item]


def _likes(items: Any) -> Iterator[Like]:
    for item in items:
        if isinstance(item, Like):
            yield item
        elif not isinstance(item, Leaf):
            yield from _likes(item)


def _json(item: Any) -> Any:
    if isinstance(item, Leaf):
        return repr(item.value)
    return [list(item.shape), str(item.dtype)] if isinstance(item, Like) else list(map(_json, item))


def _traced(use: Use, roles: tuple[Role, ...], inputs: tuple[TensorSpec, ...], output: TensorSpec) -> Traced:
    count = COUNTED.get(use.function.overloadpacket)
    macs = count([_thawed(item) for item in use.args], torch.empty(output.shape, device="meta")) if count else 0
    return Traced(
        use.name,
        like=_like(use, macs, len(inputs)),
        macs=macs,
        params=sum(role or 0 for role in roles),
        read_bytes=sum(spec.size_bytes for spec in inputs),
        attributes=content_hash([use.to_json(), [role is None for role in roles]])[:8],
    )


def _like(use: Use, macs: int, n_inputs: int) -> str:
    """Return the class of kernel that takes about the same time: what is no product is bound by what it moves."""
    if use.name == "convolution":
        return _like_of_convolution(use)
    if macs:
        return "linear"
    if "norm" in use.name:
        return "norm"
    if "pool" in use.name or use.name in ("mean", "sum", "amax"):
        return "pool"
    return "add" if n_inputs > 1 else "relu"


def _like_of_convolution(use: Use) -> str:
    shape, weight, values = use.tensors[0].shape, use.tensors[1].shape, use.values
    transposed, groups = values[6], values[8]
    if groups > 1 and groups == shape[1]:
        return "depthwise"
    square = len(weight) == 4 and weight[2] == weight[3] and not transposed
    return {1: "conv1x1", 3: "conv3x3"}.get(weight[2], "conv_other") if square else "conv_other"


#: Kind and fields of an operator that is of a known kind.
_Fields = tuple[Any, dict[str, Any]] | None


def _conv2d(use: Use, roles: tuple[Role, ...], output: TensorSpec) -> _Fields:
    weight = use.tensors[1].shape
    _, _, _, stride, padding, dilation, transposed, _, groups = use.values
    fits = len(weight) == 4 and weight[2] == weight[3] and not transposed and set(dilation) == {1}
    bias = (weight[0],) if len(roles) == 3 else ()
    if not fits or len(set(stride)) > 1 or len(set(padding)) > 1 or roles != (None, prod(weight), *bias):
        return None
    window = {"kernel": weight[2], "stride": stride[0], "padding": padding[0], "groups": groups}
    return "conv2d", {**window, "bias": bool(bias)}


def _linear(use: Use, roles: tuple[Role, ...], output: TensorSpec) -> _Fields:
    *_, x, weight = use.tensors
    bias = (output.shape[-1],) if use.name == "addmm" else ()
    fits = roles == (*bias, None, prod(weight.shape)) and len(x.shape) == 2 and not use.kwargs
    return ("linear", {"bias": bool(bias)}) if fits else None


def _batch_norm(use: Use, roles: tuple[Role, ...], output: TensorSpec) -> _Fields:
    values = use.values
    usual = values[-1] == 1e-5 and values[5] is not True and len(output.shape) == 4
    return ("batch_norm", {}) if usual and roles == (None, *output.shape[1:2] * 2, 0, 0) else None


def _relu(use: Use, roles: tuple[Role, ...], output: TensorSpec) -> _Fields:
    return ("relu", {}) if roles == (None,) and len(output.shape) > 1 else None


def _add(use: Use, roles: tuple[Role, ...], output: TensorSpec) -> _Fields:
    fits = roles == (None, None) and not use.kwargs and {like.spec for like in use.tensors} == {output}
    return ("add", {}) if fits and len(output.shape) > 1 else None


def _avg_pool2d(use: Use, roles: tuple[Role, ...], output: TensorSpec) -> _Fields:
    values = _filled(use.values, None, None, [], [0], False, True, None)
    _, kernel, stride, padding, ceil_mode, count_padding, divisor = values
    odd = ceil_mode or divisor or (count_padding and any(padding))
    return None if odd else _window("avg_pool2d", kernel, stride, padding)


def _max_pool2d(use: Use, roles: tuple[Role, ...], output: TensorSpec) -> _Fields:
    _, kernel, stride, padding, dilation, ceil_mode = _filled(use.values, None, None, [], [0], [1], False)
    return None if ceil_mode or set(dilation) != {1} else _window("max_pool2d", kernel, stride, padding)


def _window(kind: str, kernel: list[int], stride: list[int], padding: list[int]) -> _Fields:
    sizes = [set(kernel), set(stride or kernel), set(padding)]
    if any(len(item) > 1 for item in sizes):
        return None
    return kind, dict(zip(("kernel", "stride", "padding"), (item.pop() for item in sizes), strict=True))


def _mean(use: Use, roles: tuple[Role, ...], output: TensorSpec) -> _Fields:
    _, axes, keep = _filled(use.values, None, None, False)
    images = roles == (None,) and len(use.tensors[0].shape) == 4 and axes is not None
    return ("global_avg_pool", {}) if images and not keep and {axis % 4 for axis in axes} == {2, 3} else None


def _filled(values: list[Any], *defaults: Any) -> list[Any]:
    """Return positional arguments with the defaults of those that were left out."""
    return [*values, *defaults[len(values) :]]


_KNOWN: Mapping[str, Callable[[Use, tuple[Role, ...], TensorSpec], _Fields]] = {
    "convolution": _conv2d,
    "addmm": _linear,
    "mm": _linear,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "relu": _relu,
    "add": _add,
    "avg_pool2d": _avg_pool2d,
    "max_pool2d_with_indices": _max_pool2d,
    "mean": _mean,
}
