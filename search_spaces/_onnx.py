"""The ONNX view of a graph, written directly: no tracing, no torch."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, TensorProto, helper

from search_spaces._graph import Call, Graph, Operator
from search_spaces._weights import Weights, make_weights

OPSET = 17
IR_VERSION = 8
#: torch's default, which every space uses.
EPSILON = 1e-5


def to_onnx(graph: Graph, weights: Weights | None = None, seed: int = 0) -> bytes:
    """Return the network as ONNX: input `input`, output `output`, fixed shapes, the same bytes for the same graph.

    What cannot reach the output is left out, as every exporter does; normalisation is folded into a convolution
    before it. `weights` are those of `make_weights` or `read_weights`; missing means seeded ones.
    """
    graph = graph.without_dead()
    writer = _Writer(graph, make_weights(graph, seed) if weights is None else weights)
    for call in graph.calls:
        writer.add(call)
    return writer.model()


class _Writer:
    """Collects nodes and initialisers."""

    def __init__(self, graph: Graph, weights: Weights) -> None:
        self._graph = graph
        self._weights = weights
        self._model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="hilnas")
        self._model.opset_import.append(onnx.OperatorSetIdProto(domain="", version=OPSET))
        self._proto: GraphProto = self._model.graph
        self._proto.name = "hilnas"

    def model(self) -> bytes:
        """Return the serialised model."""
        last = self._graph.calls[-1].block.operators[-1]
        self._proto.node[-1].output[0] = "output"
        self._proto.input.append(_value("input", self._graph.input.shape))
        self._proto.output.append(_value("output", last.output_spec.shape))
        data: bytes = self._model.SerializeToString(deterministic=True)
        return data

    def add(self, call: Call) -> None:
        """Append the nodes of one call."""
        operators = call.block.operators
        folded = _folded(operators)
        for operator, after in zip(operators, (*operators[1:], None), strict=True):
            if operator.name in folded:
                continue
            normalisation = after if after is not None and after.name in folded else None
            produced = operator if normalisation is None else normalisation
            name = call.name if produced is operators[-1] else f"{call.name}.{produced.name}"
            inputs = [self._tensor(call, source) for source in operator.inputs]
            self._emit(call, operator, inputs, name, normalisation)

    def _tensor(self, call: Call, source: str) -> str:
        """Return the global name of a block's own name: an input of the call, or an earlier operator's output."""
        if source.startswith("in") and source[2:].isdigit():
            return call.inputs[int(source[2:])]
        return f"{call.name}.{source}"

    def _emit(
        self, call: Call, operator: Operator, inputs: list[str], output: str, normalisation: Operator | None
    ) -> None:
        prefix = f"{call.name}.{operator.name}"
        kind = operator.kind
        if kind == "conv2d":
            inputs += self._convolution(call, operator, normalisation)
            self._node("Conv", inputs, output, _window(operator, conv=True))
        elif kind == "linear":
            inputs.append(self._initializer(f"{prefix}.weight", self._weights[f"{prefix}.weight"]))
            if operator.bias:
                inputs.append(self._initializer(f"{prefix}.bias", self._weights[f"{prefix}.bias"]))
            self._node("Gemm", inputs, output, _TRANSPOSED)
        elif kind == "batch_norm":
            for part in ("weight", "bias", "running_mean", "running_var"):
                inputs.append(self._initializer(f"{prefix}.{part}", self._weights[f"{prefix}.{part}"]))
            self._node("BatchNormalization", inputs, output, _EPSILON)
        elif kind == "avg_pool2d":
            self._node("AveragePool", inputs, output, _window(operator, conv=False))
        elif kind == "global_avg_pool":
            self._node("GlobalAveragePool", inputs, f"{output}.pooled", ())
            self._node("Flatten", [f"{output}.pooled"], output, ())
        elif kind == "zeros":
            zeros = np.zeros(operator.output_spec.shape, np.float32)
            self._node("Identity", [self._initializer(f"{prefix}.value", zeros)], output, ())
        else:
            self._node({"relu": "Relu", "add": "Add"}[kind], inputs, output, ())

    def _convolution(self, call: Call, operator: Operator, normalisation: Operator | None) -> list[str]:
        """Add the weights of a convolution, a following normalisation folded in, and return their names."""
        prefix = f"{call.name}.{operator.name}"
        weight = self._weights[f"{prefix}.weight"]
        bias = self._weights[f"{prefix}.bias"] if operator.bias else None
        if normalisation is not None:
            weight, bias = self._fold(f"{call.name}.{normalisation.name}", weight, bias)
        names = [self._initializer(f"{prefix}.weight", weight)]
        return names if bias is None else [*names, self._initializer(f"{prefix}.bias", bias)]

    def _fold(
        self, prefix: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return weight and bias that do what convolution and normalisation do one after the other."""
        gamma, beta, mean, variance = (
            self._weights[f"{prefix}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + np.float32(EPSILON))
        shift = beta - mean * scale if bias is None else beta + (bias - mean) * scale
        return weight * scale[:, None, None, None], shift

    def _initializer(self, name: str, values: NDArray[np.float32]) -> str:
        tensor = self._proto.initializer.add()
        tensor.name = name
        tensor.data_type = TensorProto.FLOAT
        tensor.dims.extend(values.shape)
        tensor.raw_data = np.ascontiguousarray(values, "<f4").tobytes()
        return name

    def _node(self, kind: str, inputs: list[str], output: str, attributes: tuple[AttributeProto, ...]) -> None:
        node = self._proto.node.add()
        node.op_type = kind
        node.name = output
        node.input.extend(inputs)
        node.output.append(output)
        node.attribute.extend(attributes)


@lru_cache(maxsize=4096)
def _folded(operators: tuple[Operator, ...]) -> frozenset[str]:
    """Return the names of normalisations that directly follow their convolution."""
    return frozenset(
        after.name
        for before, after in pairwise(operators)
        if after.kind == "batch_norm" and before.kind == "conv2d" and after.inputs == (before.name,)
    )


@lru_cache(maxsize=4096)
def _window(operator: Operator, conv: bool) -> tuple[AttributeProto, ...]:
    found = [
        helper.make_attribute("kernel_shape", [operator.kernel] * 2),
        helper.make_attribute("pads", [operator.padding] * 4),
        helper.make_attribute("strides", [operator.stride] * 2),
    ]
    return (*found, helper.make_attribute("group", operator.groups)) if conv else tuple(found)


_TRANSPOSED = (helper.make_attribute("transB", 1),)
_EPSILON = (helper.make_attribute("epsilon", EPSILON),)


def _value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
