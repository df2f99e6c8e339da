"""The one graph of a network; everything else is a view of it.

A `Graph` is a list of `Call`s. A call applies a `Block` (a small, immutable, shared piece of network: what a lookup
table has an entry for) to named tensors. A block is a chain of `Operator`s. Spaces intern their blocks, so a view
that depends on the block alone is computed once per block and not once per network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Literal, NamedTuple

from hilnas.errors import UsageError
from search_spaces._quantiser import FixedPoint

OperatorKind = Literal[
    "conv2d",
    "batch_norm",
    "relu",
    "avg_pool2d",
    "max_pool2d",
    "global_avg_pool",
    "flatten",
    "channel_shuffle",
    "linear",
    "add",
    "concat",
    "crop",
    "zeros",
    "quantise",
    "traced",
]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The type of a tensor: shape (batch first), bits per value."""

    shape: tuple[int, ...]
    bits: int = 32

    @property
    def elements(self) -> int:
        """Return the number of values."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Return the bytes the tensor occupies."""
        return (self.elements * self.bits + 7) // 8


@dataclass(frozen=True, slots=True)
class Traced:
    """What is known of an operator of the kind `traced`, which is none of the others: it is counted, never rebuilt.

    `name` is that of the framework; `like` the class of kernel whose time it takes (see `_features`), nothing for a
    view, which no runtime spends time on. `attributes` tells apart what has the same name and shapes.
    """

    name: str
    like: str = ""
    macs: int = 0
    params: int = 0
    read_bytes: int = 0
    attributes: str = ""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator inside a block.

    `inputs` name earlier operators of the block or its inputs (`in0`, `in1` ...); its own name is its output.
    conv2d uses kernel, stride, padding, groups, dilation, bias; avg_pool2d and max_pool2d kernel, stride, padding
    (padding is not counted); channel_shuffle groups (channel c of n goes to c % (n / groups) x groups + c // (n /
    groups)). concat joins the channels of inputs of one shape, crop leaves the first row and the first column out.
    `fraction_bits` makes numbers fixed point: the weights and the bias of a conv2d, of `weight_bits` in all,
    or the result of a quantise, of its spec's bits in all.
    """

    name: str
    kind: OperatorKind
    inputs: tuple[str, ...]
    input_spec: TensorSpec
    output_spec: TensorSpec
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    dilation: int = 1
    bias: bool = False
    weight_bits: int = 32
    fraction_bits: int | None = None
    traced: Traced | None = None

    @property
    def is_view(self) -> bool:
        """Return whether it only gives a tensor another shape."""
        return self.traced is not None and not self.traced.like

    @property
    def moved_bytes(self) -> int:
        """Return the bytes of activations it reads and writes."""
        read = self.input_spec.size_bytes * len(self.inputs) if self.traced is None else self.traced.read_bytes
        return read + self.output_spec.size_bytes

    @property
    def form(self) -> FixedPoint | None:
        """Return the fixed-point format of a convolution's weights or of a quantiser's result, else None."""
        if self.fraction_bits is None:
            return None
        bits = self.output_spec.bits if self.kind == "quantise" else self.weight_bits
        return FixedPoint(bits - self.fraction_bits, self.fraction_bits)

    @property
    def macs(self) -> int:
        """Return multiply-adds of convolutions and linear layers: output elements x weights per output channel."""
        if self.kind == "conv2d":
            return self.output_spec.elements * (self.input_spec.shape[1] // self.groups) * self.kernel**2
        if self.kind == "linear":
            return self.output_spec.elements * self.input_spec.shape[-1]
        return 0 if self.traced is None else self.traced.macs

    @property
    def params(self) -> int:
        """Return trainable parameters (batch normalisation: scale and shift)."""
        if self.traced is not None:
            return self.traced.params
        channels_in, channels_out = self.input_spec.shape[1], self.output_spec.shape[1]
        if self.kind == "conv2d":
            return channels_out * (channels_in // self.groups) * self.kernel**2 + channels_out * self.bias
        if self.kind == "linear":
            return channels_out * channels_in + channels_out * self.bias
        if self.kind == "batch_norm":
            return 2 * channels_out
        return 0


@dataclass(frozen=True, eq=False)
class Block:
    """A chain of operators with one output, the unit of a lookup table.

    `kind` is a short name in the space's terms (`nor_conv_3x3`); the last operator's output is the block's output.
    Spaces intern blocks, so identity is equality and what is computed of a block can be cached by it; across
    processes the `key` identifies it.
    """

    kind: str
    inputs: tuple[TensorSpec, ...]
    operators: tuple[Operator, ...]

    @cached_property
    def output(self) -> TensorSpec:
        """Return the type of the output."""
        return self.operators[-1].output_spec

    @cached_property
    def folded(self) -> dict[str, str]:
        """Return convolution -> the normalisation that is its only reader and disappears into it at inference.

        It does not where the weights are fixed point: multiplied with something they would no longer be.
        """
        foldable = {op.name for op in self.operators if op.kind == "conv2d" and op.form is None}
        reads = Counter(name for operator in self.operators for name in operator.inputs)
        return {
            operator.inputs[0]: operator.name
            for operator in self.operators
            if operator.kind == "batch_norm" and operator.inputs[0] in foldable and reads[operator.inputs[0]] == 1
        }

    @cached_property
    def stepwise(self) -> frozenset[str]:
        """Return the normalisations that read a fixed-point convolution: all views compute them in the same steps."""
        exact = {op.name for op in self.operators if op.kind == "conv2d" and op.form is not None}
        return frozenset(op.name for op in self.operators if op.kind == "batch_norm" and op.inputs[0] in exact)

    @cached_property
    def key(self) -> str:
        """Return the lookup key: kind, full shapes and bits (`nor_conv_3x3/1x16x32x32/1x16x32x32/w32a32`).

        Fixed-point weights are named by both numbers of their format: `w1.3`.
        """
        shapes = [self.inputs[0], self.output] if self.inputs else [self.output]
        text = "/".join("x".join(map(str, spec.shape)) for spec in shapes)
        weights = next((op.form or op.weight_bits for op in self.operators if op.params), 32)
        return f"{self.kind}/{text}/w{weights}a{shapes[0].bits}"


class Call(NamedTuple):
    """One use of a block: its tensors are named `name` (the output) and `inputs`."""

    name: str
    block: Block
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """A network: calls in topological order, one input tensor named `input`, one output tensor."""

    input: TensorSpec
    calls: tuple[Call, ...]
    output: str = field(default="")

    def __post_init__(self) -> None:
        if not self.output:
            object.__setattr__(self, "output", self.calls[-1].name)

    @property
    def operators(self) -> Iterator[tuple[Call, Operator]]:
        """Return every operator with the call it belongs to, in topological order."""
        return ((call, op) for call in self.calls for op in call.block.operators)

    @cached_property
    def block_counts(self) -> Counter[Block]:
        """Return how often each block is used."""
        return Counter([call.block for call in self.calls])

    def need_own(self) -> None:
        """Raise UsageError for a graph that was traced: it can be counted, and only its module can be run."""
        if any(operator.traced is not None for _, operator in self.operators):
            raise UsageError(
                "a traced graph cannot be run", "It says what a module does.", "Take the module or ONNX of its space."
            )

    @cached_property
    def connected(self) -> bool:
        """Return whether the output depends on the input."""
        return self.output in self._depends_on_input

    def without_dead(self) -> Graph:
        """Return the graph without calls that cannot reach the output: what any exporter leaves."""
        needed = {self.output}
        kept: list[Call] = []
        for call in reversed(self.calls):
            if call.name in needed:
                kept.append(call)
                needed.update(call.inputs)
        return replace(self, calls=tuple(reversed(kept)), output=self.output)

    def live(self) -> Graph:
        """Return only calls on a path from input to output: what is left once a runtime has folded constants.

        It is there to be counted: constant terms are gone from the inputs of its sums, so it cannot be run.
        """
        dependent = self._depends_on_input
        calls = tuple(
            call
            if dependent.issuperset(call.inputs)
            else call._replace(inputs=tuple(name for name in call.inputs if name in dependent))
            for call in self.without_dead().calls
            if call.name in dependent
        )
        return replace(self, calls=calls, output=self.output)

    @cached_property
    def _depends_on_input(self) -> frozenset[str]:
        dependent = {"input"}
        for call in self.calls:
            if any(name in dependent for name in call.inputs):
                dependent.add(call.name)
        return frozenset(dependent)
