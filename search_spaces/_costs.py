"""The static costs of a graph: what follows from shapes and bits alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from search_spaces._graph import Block, Call, Graph, Operator

#: Whose format the activation bits of a layer are: that of what it reads, or that its own result is rounded to.
Activation = Literal["input", "output"]
#: Operators that hand a tensor on in whatever format it is rounded to later.
_HANDS_ON = (
    "batch_norm",
    "relu",
    "avg_pool2d",
    "max_pool2d",
    "global_avg_pool",
    "flatten",
    "channel_shuffle",
    "concat",
    "crop",
)


@dataclass(frozen=True, slots=True)
class StaticCosts:
    """Counts of a network at its batch size.

    `macs` are multiply-adds of convolutions and linear layers (what fvcore calls flops), bias additions not counted.
    `aops` = sum over layers of MACs x bits of the layer's input x bits of its weights (RADARS, Eq. 1); see `aops`.
    `activation_bytes` are the outputs of all operators, `weight_bytes` the parameters.
    """

    macs: int
    params: int
    aops: int
    activation_bytes: int
    weight_bytes: int

    @property
    def flops(self) -> int:
        """Return floating-point operations: two a multiply-add."""
        return 2 * self.macs


def static_costs(graph: Graph) -> StaticCosts:
    """Return the costs of a graph, every block counted as often as it is called.

    Dead calls count as well; what tracing tools such as fvcore count is `static_costs(graph.without_dead())`.
    """
    macs = params = integer_aops = float_aops = activation_bytes = weight_bytes = 0
    for block, n in graph.block_counts.items():
        costs = _totals(block)
        macs += n * costs[0]
        params += n * costs[1]
        integer_aops += n * costs[2]
        float_aops += n * costs[3]
        activation_bytes += n * costs[4]
        weight_bytes += n * costs[5]
    return StaticCosts(macs, params, integer_aops or float_aops, activation_bytes, weight_bytes)


def block_costs(block: Block) -> StaticCosts:
    """Return the costs of one block on its own."""
    macs, params, integer_aops, float_aops, activation_bytes, weight_bytes = _totals(block)
    return StaticCosts(macs, params, integer_aops or float_aops, activation_bytes, weight_bytes)


def aops(graph: Graph, activation: Activation = "input") -> int:
    """Return the sum over layers of MACs x activation bits x weight bits (RADARS, Eq. 1).

    The bits of a fixed-point format are its integer and its fraction bits. `activation` says whose format counts:
    `input`, that of what the layer reads, as the paper has it (a picture of 8 integer and 8 fraction bits has 16);
    `output`, that its own result is rounded to, as in the code of the paper's authors. Layers with 32-bit weights,
    such as the head of a quantised network, do not count beside others, as in the published figures; in a network
    that has no others every layer counts.
    """
    return sum(_layer_aops(graph, activation))


def aops_by_block(blocks: Iterable[Block]) -> Callable[[Block], int]:
    """Return what each block adds to the AOPS (`input`) of a network that is made of some of these blocks.

    Every network of theirs is taken to have layers with low-bit weights, or none.
    """
    place = 2 if any(_totals(block)[2] for block in blocks) else 3
    return lambda block: _totals(block)[place]


def layer_rows(graph: Graph, activation: Activation = "input") -> list[dict[str, Any]]:
    """Return one row an operator with its costs, for tables; they add up to those of the graph."""
    return [
        {
            "layer": f"{call.name}.{op.name}",
            "kind": op.kind,
            "output_shape": op.output_spec.shape,
            "macs": op.macs,
            "params": op.params,
            "aops": adjusted,
            "activation_bytes": op.output_spec.size_bytes,
        }
        for (call, op), adjusted in zip(graph.operators, _layer_aops(graph, activation), strict=True)
    ]


def _layer_aops(graph: Graph, activation: Activation) -> list[int]:
    """Return the AOPS of every operator."""
    stored = _stored_bits(graph) if activation == "output" else {}
    integers = any(op.macs and op.weight_bits < 32 for _, op in graph.operators)
    return [
        op.macs * stored.get(_name(call, op), op.input_spec.bits) * op.weight_bits
        if op.weight_bits < 32 or not integers
        else 0
        for call, op in graph.operators
    ]


def _stored_bits(graph: Graph) -> dict[str, int]:
    """Return tensor -> its bits, or those it is rounded to before anything is computed with it.

    What several operators read in different formats is stored in the one with the most bits.
    """
    read: dict[str, list[int]] = {}
    found: dict[str, int] = {}
    for call in reversed(graph.calls):
        for op in reversed(call.block.operators):
            name = _name(call, op)
            found[name] = max(read.get(name, ()), default=op.output_spec.bits)
            bits = op.input_spec.bits
            if op.kind == "quantise":
                bits = op.output_spec.bits
            elif op.kind in _HANDS_ON:
                bits = found[name]
            for source in op.inputs:
                read.setdefault(_source(call, source), []).append(bits)
    return found


def _name(call: Call, operator: Operator) -> str:
    return call.name if operator is call.block.operators[-1] else f"{call.name}.{operator.name}"


def _source(call: Call, source: str) -> str:
    if source.startswith("in") and source[2:].isdigit():
        return call.inputs[int(source[2:])]
    return f"{call.name}.{source}"


@lru_cache(maxsize=4096)
def _totals(block: Block) -> tuple[int, int, int, int, int, int]:
    """Return MACs, parameters, AOPS of layers with low-bit weights, AOPS of the others, bytes as in StaticCosts."""
    operators = block.operators
    adjusted = [(op.weight_bits < 32, op.macs * op.input_spec.bits * op.weight_bits) for op in operators]
    return (
        sum(op.macs for op in operators),
        sum(op.params for op in operators),
        sum(value for low, value in adjusted if low),
        sum(value for low, value in adjusted if not low),
        sum(op.output_spec.size_bytes for op in operators),
        sum((op.params * op.weight_bits + 7) // 8 for op in operators),
    )
