"""The ONNX view of a graph, written directly: no tracing, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, helper

from search_spaces._graph import Block, Call, Graph, Operator, OperatorKind
from search_spaces._quantiser import FixedPoint, quantise
from search_spaces._weights import Weights, make_weights

#: The newest that ONNX Runtime 1.10 reads, the last one for the Python 3.6 of older Jetsons.
OPSET = 15
IR_VERSION = 8
#: torch's default for batch normalisation, which every space uses.
EPSILON = np.float32(1e-5)

_ONNX_KINDS: dict[OperatorKind, str] = {
    "conv2d": "Conv",
    "linear": "Gemm",
    "batch_norm": "BatchNormalization",
    "avg_pool2d": "AveragePool",
    "max_pool2d": "MaxPool",
    "flatten": "Flatten",
    "relu": "Relu",
    "add": "Add",
    "concat": "Concat",
    "zeros": "Identity",
}


def to_onnx(graph: Graph, weights: Weights | None = None, seed: int = 0) -> bytes:
    """Return the network as ONNX: input `input`, output `output`, fixed shapes, the same bytes for the same graph.

    What cannot reach the output is left out, as every exporter does; normalisation is folded into a convolution
    before it. Fixed-point weights are written rounded; tensors are rounded on the way by standard operators, all of it
    in floating point. `weights` are those of `make_weights` or `read_weights`; missing means seeded ones.
    """
    graph = graph.without_dead()
    return Writer(make_weights(graph, seed) if weights is None else weights).model(graph)


class _Step(NamedTuple):
    """One node in the terms of its block: what is the same in every call of the block."""

    operator: Operator
    #: The normalisation that is folded into this convolution.
    normalisation: str | None
    #: Number of an input of the call, or `.name` of an earlier result in it.
    sources: tuple[int | str, ...]
    #: `.name` of the result, nothing for the result of the block.
    result: str
    attributes: tuple[AttributeProto, ...]
    #: Whether this normalisation is written as a division and an addition.
    stepwise: bool


class Writer:
    """Collects the nodes and the encoded initialisers of a model."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, tuple[bytes, NDArray[np.float32]]] = {}
        self._shapes: set[str] = set()

    def model(self, graph: Graph) -> bytes:
        """Return the serialised model of a graph without dead calls."""
        return b"".join(piece if isinstance(piece, bytes) else piece[1].data for piece in self.pieces(graph))

    def pieces(self, graph: Graph) -> list[bytes | tuple[str, NDArray[np.float32]]]:
        """Return the model as bytes and named tensors, one after the other.

        Initialisers are put into the message by hand: the library would copy each weight four times, which takes
        most of the time.
        """
        for call in graph.calls:
            self._add(call)
        network = self._network(graph)
        size = len(network) + sum(len(head) + values.nbytes for head, values in self._initializers.values())
        found: list[bytes | tuple[str, NDArray[np.float32]]] = [
            _MODEL + _prefix(onnx.ModelProto.GRAPH_FIELD_NUMBER, size) + network
        ]
        for name, (head, values) in self._initializers.items():
            found += (head, (name, values))
        return found

    def _add(self, call: Call) -> None:
        """Append the nodes of one call."""
        for step in _steps(call.block):
            inputs = [call.inputs[item] if isinstance(item, int) else call.name + item for item in step.sources]
            output = call.name + step.result
            if step.operator.kind == "global_avg_pool":
                self._chain([("GlobalAveragePool", [], ".pooled"), ("Flatten", [], "")], inputs, output)
            elif step.operator.form is not None and step.operator.kind == "quantise":
                self._chain(self._rounding(step.operator.form), inputs, output)
            elif step.operator.kind == "channel_shuffle":
                self._shuffle(step.operator, inputs[0], output)
            elif step.operator.kind == "crop":
                bounds = [self._sizes(values) for values in ((1, 1), step.operator.input_spec.shape[2:], (2, 3))]
                self._node("Slice", [*inputs, *bounds], output, ())
            elif step.stepwise:
                self._chain(self._normalising(f"{call.name}.{step.operator.name}"), inputs, output)
            else:
                inputs += self._constants(call.name, step)
                self._node(_ONNX_KINDS[step.operator.kind], inputs, output, step.attributes)

    def _network(self, graph: Graph) -> bytes:
        """Return the graph's message without its initialisers."""
        self._nodes[-1].output[0] = "output"
        entry, last = graph.input, graph.calls[-1].block.output
        proto = onnx.GraphProto(
            name="hilnas",
            node=self._nodes,
            input=[helper.make_tensor_value_info("input", TensorProto.FLOAT, entry.shape)],
            output=[helper.make_tensor_value_info("output", TensorProto.FLOAT, last.shape)],
        )
        found: bytes = proto.SerializeToString(deterministic=True)
        return found

    def _node(self, kind: str, inputs: list[str], output: str, attributes: Sequence[AttributeProto]) -> None:
        node = onnx.NodeProto(op_type=kind, name=output, input=inputs, output=[output], attribute=attributes)
        self._nodes.append(node)

    def _chain(self, links: Sequence[tuple[str, list[str], str]], inputs: list[str], output: str) -> None:
        """Append nodes one after the other: kind, names of constants, what is added to the name of the result."""
        for kind, constants, suffix in links:
            self._node(kind, [*inputs, *constants], output + suffix, ())
            inputs = [output + suffix]

    def _shuffle(self, operator: Operator, source: str, output: str) -> None:
        """Append what exporters write for it: the groups become an axis, which changes places with their channels."""
        batch, channels, *sides = operator.output_spec.shape
        apart = self._sizes((batch, operator.groups, channels // operator.groups, *sides))
        self._node("Reshape", [source, apart], f"{output}.apart", ())
        turned = (helper.make_attribute("perm", [0, 2, 1, 3, 4]),)
        self._node("Transpose", [f"{output}.apart"], f"{output}.turned", turned)
        self._node("Reshape", [f"{output}.turned", self._sizes(operator.output_spec.shape)], output, ())

    def _sizes(self, shape: tuple[int, ...]) -> str:
        """Return the name of constant whole numbers, appended where they are new: initialisers hold floats only."""
        name = "sizes." + "x".join(map(str, shape))
        if name not in self._shapes:
            self._shapes.add(name)
            value = helper.make_tensor("", TensorProto.INT64, [len(shape)], shape)
            self._node("Constant", [], name, (helper.make_attribute("value", value),))
        return name

    def _rounding(self, form: FixedPoint) -> list[tuple[str, list[str], str]]:
        """Return the nodes that round to a format: `quantise`, step by step."""
        numbers = {"lowest": form.lowest, "highest": form.highest, "scale": form.scale, "step": form.step}
        names = {
            name: self._initializer(f"fixed{form}.{name}", np.array(number, np.float32))
            for name, number in numbers.items()
        }
        return [
            ("Clip", [names["lowest"], names["highest"]], ".clamped"),
            ("Mul", [names["scale"]], ".scaled"),
            ("Round", [], ".rounded"),
            ("Mul", [names["step"]], ""),
        ]

    def _normalising(self, prefix: str) -> list[tuple[str, list[str], str]]:
        """Return the nodes that normalise as `StepwiseBatchNorm2d` does.

        A division, since runtimes fold a multiplication into the weights, which would be fixed point no longer.
        """
        with np.errstate(divide="ignore"):  # a channel whose weight is 0: divided by infinity
            divisor = np.sqrt(self._weights[f"{prefix}.running_var"] + EPSILON) / self._weights[f"{prefix}.weight"]
        shift = self._weights[f"{prefix}.bias"] - self._weights[f"{prefix}.running_mean"] / divisor
        names = [
            self._initializer(f"{prefix}.{name}", values[:, None, None])
            for name, values in (("divisor", divisor), ("shift", shift))
        ]
        return [("Div", names[:1], ".divided"), ("Add", names[1:], "")]

    def _constants(self, call: str, step: _Step) -> list[str]:
        """Add what a node reads besides tensors and return the names."""
        operator = step.operator
        prefix = f"{call}.{operator.name}"
        if operator.kind == "batch_norm":
            parts = ("weight", "bias", "running_mean", "running_var")
            return [self._initializer(f"{prefix}.{part}", self._weights[f"{prefix}.{part}"]) for part in parts]
        if operator.kind == "zeros":
            shape = operator.output_spec.shape
            return [self._initializer("zeros." + "x".join(map(str, shape)), np.zeros(shape, np.float32))]
        if operator.kind not in ("conv2d", "linear"):
            return []
        weight = self._weights[f"{prefix}.weight"]
        bias = self._weights[f"{prefix}.bias"] if operator.bias else None
        if step.normalisation is not None:
            weight, bias = self._folded(f"{call}.{step.normalisation}", weight, bias)
        if operator.form is not None:
            weight, bias = quantise(weight, operator.form), None if bias is None else quantise(bias, operator.form)
        names = [self._initializer(f"{prefix}.weight", weight)]
        return names if bias is None else [*names, self._initializer(f"{prefix}.bias", bias)]

    def _folded(
        self, prefix: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return weight and bias that do what convolution and normalisation do one after the other."""
        scale = folded_scale(self._weights, prefix)
        mean = self._weights[f"{prefix}.running_mean"]
        shift = self._weights[f"{prefix}.bias"] - (mean if bias is None else mean - bias) * scale
        return weight * scale[:, None, None, None], shift

    def _initializer(self, name: str, values: NDArray[np.float32]) -> str:
        if name not in self._initializers:
            self._initializers[name] = (_tensor_head(name, values.shape), np.ascontiguousarray(values, "<f4"))
        return name


def folded_scale(weights: Weights, name: str) -> NDArray[np.float32]:
    """Return what the normalisation `call.operator` multiplies each channel with, shape (channels,)."""
    scale: NDArray[np.float32] = weights[f"{name}.weight"] / np.sqrt(weights[f"{name}.running_var"] + EPSILON)
    return scale


@lru_cache(maxsize=4096)
def _steps(block: Block) -> tuple[_Step, ...]:
    """Return the nodes of a block; a convolution takes its normalisation over."""
    folded = block.folded
    steps = []
    for operator in block.operators:
        if operator.name in folded.values():
            continue
        result = folded.get(operator.name, operator.name)
        steps.append(
            _Step(
                operator,
                folded.get(operator.name),
                tuple(_source(name) for name in operator.inputs),
                "" if result == block.operators[-1].name else f".{result}",
                _attributes(operator),
                operator.name in block.stepwise,
            )
        )
    return tuple(steps)


def _source(name: str) -> int | str:
    return int(name[2:]) if name.startswith("in") and name[2:].isdigit() else f".{name}"


def _attributes(operator: Operator) -> tuple[AttributeProto, ...]:
    if operator.kind == "linear":
        return (helper.make_attribute("transB", 1),)
    if operator.kind == "batch_norm":
        return (helper.make_attribute("epsilon", float(EPSILON)),)
    if operator.kind == "concat":
        return (helper.make_attribute("axis", 1),)
    if operator.kind not in ("conv2d", "avg_pool2d", "max_pool2d"):
        return ()
    window = (
        helper.make_attribute("kernel_shape", [operator.kernel] * 2),
        helper.make_attribute("pads", [operator.padding] * 4),
        helper.make_attribute("strides", [operator.stride] * 2),
    )
    if operator.kind != "conv2d":
        return window
    dilated = (helper.make_attribute("dilations", [operator.dilation] * 2),) if operator.dilation > 1 else ()
    return (*window, *dilated, helper.make_attribute("group", operator.groups))


@lru_cache(maxsize=4096)
def _tensor_head(name: str, shape: tuple[int, ...]) -> bytes:
    """Return an initialiser's message up to its values, which must follow it."""
    tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT).SerializeToString(deterministic=True)
    size = 4 * int(np.prod(shape))
    inner: bytes = tensor + _prefix(TensorProto.RAW_DATA_FIELD_NUMBER, size)
    return _prefix(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, len(inner) + size) + inner


def _prefix(field: int, size: int) -> bytes:
    """Return tag and length of a field of bytes or of a nested message (protobuf's wire type 2)."""
    return _varint(field << 3 | 2) + _varint(size)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


_MODEL: bytes = onnx.ModelProto(
    ir_version=IR_VERSION, producer_name="hilnas", opset_import=[onnx.OperatorSetIdProto(domain="", version=OPSET)]
).SerializeToString(deterministic=True)
