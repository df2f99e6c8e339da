"""The shapes in an ONNX model: onnx's inference, and what it does not work out of arithmetic on sizes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

from search_spaces._onnx_counts import COUNTED

Values = dict[str, NDArray[Any]]

#: Tensors up to this many elements may be sizes or indices that others depend on.
SMALL = 4096
#: Every pass finds the shapes up to the next place where a size is computed from one of them.
_MAX_PASSES = 200


def with_inferred_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with all shapes that follow from those of its inputs; small constants are computed and put in.

    Raises what onnx's inference raises for a model that makes no sense.
    """
    for _ in range(_MAX_PASSES):
        model = shape_inference.infer_shapes(model, data_prop=True)
        known = known_shapes(model.graph)
        if all(name in known for node in model.graph.node for name in node.output if name) or not _fold(model, known):
            break
    return model


def known_shapes(graph: onnx.GraphProto) -> dict[str, tuple[tuple[int, ...], int]]:
    """Return tensor -> shape and element type, of those whose shape is known in full; constants included."""
    found = dict(_typed(graph))
    found.update((item.name, (tuple(item.dims), item.data_type)) for item in graph.initializer)
    return found


def dims_of(item: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Return the sizes, 0 where one is dynamic."""
    return tuple(max(dim.dim_value, 0) for dim in item.type.tensor_type.shape.dim)


def has_graph(node: onnx.NodeProto) -> bool:
    """Return whether a node contains another graph, which may read tensors that the node does not name."""
    return any(item.HasField("g") or item.graphs for item in node.attribute)


def _typed(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[tuple[int, ...], int]]]:
    for item in (*graph.input, *graph.output, *graph.value_info):
        tensor = item.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            yield item.name, (dims_of(item), tensor.elem_type)


def _fold(model: onnx.ModelProto, shapes: dict[str, tuple[tuple[int, ...], int]]) -> bool:
    """Put small constants in the place of nodes that compute them; return whether there were any."""
    graph = model.graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer if _is_small(item)}
    folded = []
    for i, node in enumerate(graph.node):
        found = _results(node, values, shapes, model)
        if found is not None:
            folded.append(i)
            values.update(found)
            graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in found.items())
    for i in reversed(folded):
        del graph.node[i]
    if folded:
        # what depends on the new constants is inferred anew, not merged with a shape that was unknown
        del graph.value_info[:]
    return bool(folded)


def _is_small(item: onnx.TensorProto) -> bool:
    return prod(item.dims) <= SMALL and (item.ByteSize() > prod(item.dims) or not prod(item.dims))


def _results(
    node: onnx.NodeProto, values: Values, shapes: dict[str, tuple[tuple[int, ...], int]], model: onnx.ModelProto
) -> Values | None:
    """Return the values of a node's outputs where they are known before anything is run."""
    if node.domain not in ("", "ai.onnx") or has_graph(node) or node.op_type.startswith("Random"):
        return None
    if node.op_type in COUNTED:
        return None  # it would no longer be counted
    if node.op_type == "Shape" and node.input[0] in shapes:
        attributes = {item.name: item.i for item in node.attribute}
        sizes = np.array(shapes[node.input[0]][0], np.int64)
        return {node.output[0]: sizes[attributes.get("start", 0) : attributes.get("end")]}
    if not all(name in values for name in node.input if name):
        return None
    return _computed(node, values, model)


def _computed(node: onnx.NodeProto, values: Values, model: onnx.ModelProto) -> Values | None:
    from onnx.reference import ReferenceEvaluator

    feeds = {name: values[name] for name in node.input if name}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    names = [name for name in node.output if name]
    outputs = [onnx.ValueInfoProto(name=name) for name in names]
    graph = helper.make_graph([node], "one", inputs, outputs)
    one = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        results = ReferenceEvaluator(one).run(names, feeds)
    except Exception:  # an operator that the evaluator lacks or a value that it refuses: the shape stays unknown
        return None
    found = dict(zip(names, map(np.asarray, results), strict=True))
    return found if all(value.size <= SMALL for value in found.values()) else None
