"""The static costs of a graph: what follows from shapes alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from search_spaces._graph import Block, Graph


@dataclass(frozen=True, slots=True)
class StaticCosts:
    """Counts of a network at its batch size.

    `macs` are multiply-adds of convolutions and linear layers (what fvcore calls flops), bias additions not counted.
    `aops` = sum over layers of MACs x bits of the layer's input x bits of its weights (RADARS, Eq. 1).
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
    macs = params = aops = activation_bytes = weight_bytes = 0
    for block, n in graph.block_counts.items():
        costs = block_costs(block)
        macs += n * costs.macs
        params += n * costs.params
        aops += n * costs.aops
        activation_bytes += n * costs.activation_bytes
        weight_bytes += n * costs.weight_bytes
    return StaticCosts(macs, params, aops, activation_bytes, weight_bytes)


@lru_cache(maxsize=4096)
def block_costs(block: Block) -> StaticCosts:
    """Return the costs of one block."""
    operators = block.operators
    return StaticCosts(
        macs=sum(op.macs for op in operators),
        params=sum(op.params for op in operators),
        aops=sum(op.macs * op.input_spec.bits * op.weight_bits for op in operators),
        activation_bytes=sum(op.output_spec.size_bytes for op in operators),
        weight_bytes=sum((op.params * op.weight_bits + 7) // 8 for op in operators),
    )


def layer_rows(graph: Graph) -> list[dict[str, Any]]:
    """Return one row an operator with its costs, for tables."""
    return [
        {
            "layer": f"{call.name}.{op.name}",
            "kind": op.kind,
            "output_shape": op.output_spec.shape,
            "macs": op.macs,
            "params": op.params,
            "aops": op.macs * op.input_spec.bits * op.weight_bits,
            "activation_bytes": op.output_spec.size_bytes,
        }
        for call, op in graph.operators
    ]
