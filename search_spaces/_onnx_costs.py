"""The costs of an ONNX model, from the shapes that onnx's own inference finds; nothing is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

import onnx
from onnx import TensorProto, helper, inliner, shape_inference

from hilnas.errors import BadFile, UsageError
from search_spaces._layer_costs import CostTable, Input, LayerCosts, named_once
from search_spaces._onnx_counts import COUNTED, VIEWS, WITHOUT_MACS
from search_spaces._onnx_shapes import SMALL, dims_of, has_graph, known_shapes, with_inferred_shapes

_STANDARD = ("", "ai.onnx")
_FOUR_BITS = ("INT4", "UINT4", "FLOAT4E2M1")
#: Constants of shapes and indices: they are no parameters.
_INDICES = (TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING)


class _Tensor(NamedTuple):
    shape: tuple[int, ...]
    size_bytes: int


def onnx_costs(model: onnx.ModelProto, inputs: Sequence[Input] = ()) -> CostTable:
    """Return the costs of a model, one row a node that computes or moves something.

    `inputs` give dynamic inputs a shape (see `with_shapes`). Weights need not be there, only their shapes. `params`
    are the elements of all constants that nodes read but indices and shapes (folded normalisation, scales of
    quantisation included), `weight_bytes` their size as stored. What follows from constants alone is folded, but what
    has a count. Operators of the standard domain are counted, or known to have no multiply-adds; a node that is
    neither, that contains another graph or whose shapes are not found is listed as uncounted. Raises UsageError for
    dynamic shapes that are not given and BadFile for a model that makes no sense.
    """
    try:
        light = with_shapes(_without_weights(model), inputs)
        if light.functions:
            light = inliner.inline_local_functions(light)
        inferred = with_inferred_shapes(light)
    except (shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise BadFile("the ONNX model makes no sense", str(error)[:300]) from error
    return _Reader(inferred.graph).table()


def model_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs of a graph that are no constants."""
    constants = {item.name for item in graph.initializer}
    return [item for item in graph.input if item.name not in constants]


def with_shapes(model: onnx.ModelProto, inputs: Sequence[Input]) -> onnx.ModelProto:
    """Return the model with its dynamic inputs fixed; the model itself where nothing was dynamic.

    Inputs without a name belong to the model's inputs in order. Raises UsageError for a dynamic input that is given
    no shape, an input that is not there and a shape that does not fit.
    """
    there = model_inputs(model.graph)
    given = _by_name(there, inputs)
    shapes = {item.name: _fixed(item, given.get(item.name)) for item in there}
    if all(shape == dims_of(item) for item, shape in zip(there, shapes.values(), strict=True)):
        return model
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for item in fixed.graph.input:
        if item.name in shapes:
            _set_dims(item, shapes[item.name])
    return fixed


def _by_name(there: Sequence[onnx.ValueInfoProto], inputs: Sequence[Input]) -> dict[str, Input]:
    known = [item.name for item in there]
    free = [name for name in known if name not in {item.name for item in inputs}]
    found: dict[str, Input] = {}
    for item in inputs:
        if item.name and item.name not in known:
            raise UsageError(f"the model has no input {item.name!r}", f"It has: {', '.join(known)}.")
        if not item.name and not free:
            raise UsageError("there are more shapes than inputs", f"The model has: {', '.join(known)}.")
        found[item.name or free.pop(0)] = item
    return found


def _fixed(item: onnx.ValueInfoProto, given: Input | None) -> tuple[int, ...]:
    there = dims_of(item)
    if given is None and 0 not in there:
        return there
    text = "x".join(str(size or "?") for size in there)
    if given is None:
        raise UsageError(
            f"the input {item.name!r} has a dynamic shape ({text})",
            "Costs and latencies belong to one shape.",
            f"Name it: --shape {item.name}={'x'.join(str(size or 1) for size in there)}, or fix it in the file: "
            "python -m onnxruntime.tools.make_dynamic_shape_fixed",
        )
    if len(there) != len(given.shape) or any(a and a != b for a, b in zip(there, given.shape, strict=True)):
        raise UsageError(f"the shape {given} does not fit the input {item.name!r}", f"The model has {text}.")
    return given.shape


def _set_dims(item: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    for dim, size in zip(item.type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = size


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the shapes of its large constants only: inference copies a model several times."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = model.graph
    light.graph.CopyFrom(
        onnx.GraphProto(
            name=graph.name, node=graph.node, input=graph.input, output=graph.output, value_info=graph.value_info
        )
    )
    for tensor in graph.initializer:
        if prod(tensor.dims) <= SMALL and tensor.data_location != TensorProto.EXTERNAL:
            light.graph.initializer.add().CopyFrom(tensor)
        else:
            light.graph.initializer.add(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    return light


class _Reader:
    """Goes through the nodes of a graph whose shapes are known."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._tensors = _measured(graph)
        self._constants = {item.name: item for item in graph.initializer}
        #: Tensor that follows from constants alone -> the constants.
        self._origins = {name: frozenset((name,)) for name in self._constants}
        self._unread = set(self._constants)
        self._rows: list[LayerCosts] = []
        self._without: Counter[str] = Counter()
        self._uncounted: Counter[str] = Counter()

    def table(self) -> CostTable:
        """Return the table of all nodes."""
        for node in self._graph.node:
            self._read(node)
        read = [self._constants[name] for name in self._constants if name not in self._unread]
        weights = [item for item in read if item.data_type not in _INDICES]
        names = named_once([row.name for row in self._rows])
        return CostTable(
            "onnx",
            tuple(_input(item) for item in model_inputs(self._graph)),
            tuple(replace(row, name=name) for row, name in zip(self._rows, names, strict=True)),
            sum(prod(item.dims) for item in weights),
            sum(_size_bytes(item.dims, item.data_type) for item in weights),
            dict(sorted(self._without.items())),
            dict(sorted(self._uncounted.items())),
        )

    def _read(self, node: onnx.NodeProto) -> None:
        names = [name for name in node.input if name]
        if node.op_type == "Constant" and node.domain in _STANDARD:
            self._keep(node)
            return
        folds = node.op_type not in COUNTED and not has_graph(node)
        if folds and names and all(name in self._origins for name in names):
            origins = frozenset().union(*(self._origins[name] for name in names))
            self._origins.update((name, origins) for name in node.output if name)
            return
        macs = self._macs(node)
        if node.domain in _STANDARD and node.op_type in VIEWS:
            return
        constants = frozenset().union(*(self._origins.get(name, frozenset()) for name in names))
        weights = [self._constants[name] for name in sorted(constants)]
        weights = [item for item in weights if item.data_type not in _INDICES]
        first = [item for item in weights if item.name in self._unread]
        self._unread -= constants
        read = [self._tensors[name] for name in names if name in self._tensors and name not in self._origins]
        made = [self._tensors[name] for name in node.output if name in self._tensors]
        self._rows.append(
            LayerCosts(
                node.name or (node.output[0] if node.output else node.op_type),
                node.op_type,
                tuple(item.shape for item in read),
                made[0].shape if made else (),
                macs,
                sum(prod(item.dims) for item in first),
                sum(item.size_bytes for item in read),
                sum(_size_bytes(item.dims, item.data_type) for item in weights),
                sum(item.size_bytes for item in made),
            )
        )

    def _keep(self, node: onnx.NodeProto) -> None:
        """Take the value of a Constant node for an initialiser."""
        attribute = node.attribute[0]
        tensor = TensorProto(data_type=TensorProto.INT64)
        if attribute.name == "value":
            tensor = attribute.t
        elif attribute.name in ("value_float", "value_floats"):
            tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[len(attribute.floats)] if attribute.floats else [])
        (name,) = node.output
        self._constants[name] = TensorProto(name=name, dims=tensor.dims, data_type=tensor.data_type)
        self._origins[name] = frozenset((name,))
        self._unread.add(name)

    def _macs(self, node: onnx.NodeProto) -> int:
        """Return the multiply-adds of a node, and note it where it has no count."""
        count = COUNTED.get(node.op_type) if node.domain in _STANDARD else None
        if count is None:
            known = node.domain in _STANDARD and node.op_type in WITHOUT_MACS
            (self._without if known else self._uncounted)[_full_name(node)] += 1
            return 0
        shapes = [self._tensors[name].shape if name in self._tensors else None for name in node.input]
        made = self._tensors.get(node.output[0])
        if made is None or any(shape is None for shape, name in zip(shapes, node.input, strict=True) if name):
            self._uncounted[f"{_full_name(node)} (shape not found)"] += 1
            return 0
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        try:
            return count(attributes, [shape or () for shape in shapes], made.shape)
        except (LookupError, ValueError) as error:
            raise BadFile(f"the node {node.name or made} ({node.op_type}) makes no sense", str(error)[:200]) from error


def _measured(graph: onnx.GraphProto) -> dict[str, _Tensor]:
    return {name: _Tensor(shape, _size_bytes(shape, kind)) for name, (shape, kind) in known_shapes(graph).items()}


def _input(item: onnx.ValueInfoProto) -> Input:
    return Input(dims_of(item), _dtype(item.type.tensor_type.elem_type), item.name)


def _dtype(kind: int) -> str:
    return str(helper.tensor_dtype_to_np_dtype(kind))


def _size_bytes(dims: Sequence[int], kind: int) -> int:
    if kind in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 0
    bits = (
        4 if TensorProto.DataType.Name(kind) in _FOUR_BITS else 8 * int(helper.tensor_dtype_to_np_dtype(kind).itemsize)
    )
    return (prod(dims) * bits + 7) // 8


def _full_name(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}"
