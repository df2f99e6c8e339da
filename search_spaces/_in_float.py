"""The floating-point network inside one in fixed point: what a runtime gets that brings a quantisation of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec


def is_fixed_point(graph: Graph) -> bool:
    """Return whether anything in a graph is rounded to fixed point."""
    return any(operator.form is not None for _, operator in graph.operators)


def in_float(graph: Graph) -> Graph:
    """Return the graph without quantisers, all weights and tensors of 32 bits; names stay, and with them weights.

    Raises ValueError for a graph of quantisers alone, which leave nothing.
    """
    names: dict[str, str] = {}
    calls: list[Call] = []
    for call in graph.calls:
        block = _in_float(call.block)
        inputs = tuple(names.get(name, name) for name in call.inputs)
        if block is None:
            names[call.name] = inputs[0]
        else:
            calls.append(Call(call.name, block, inputs))
    if not calls:
        raise ValueError("nothing is left of a graph of quantisers")
    return Graph(_float_spec(graph.input), tuple(calls), names.get(graph.output, graph.output))


@lru_cache(maxsize=4096)
def _in_float(block: Block) -> Block | None:
    """Return the block without quantisers, None where nothing is left."""
    names: dict[str, str] = {}
    kept: list[Operator] = []
    for operator in block.operators:
        inputs = tuple(names.get(name, name) for name in operator.inputs)
        if operator.kind == "quantise":
            names[operator.name] = inputs[0]
            continue
        before, after = _float_spec(operator.input_spec), _float_spec(operator.output_spec)
        kept.append(
            replace(operator, inputs=inputs, input_spec=before, output_spec=after, weight_bits=32, fraction_bits=None)
        )
    if not kept:
        return None
    if names.get(block.operators[-1].name, kept[-1].name) != kept[-1].name:
        raise ValueError(f"{block.key} ends in a quantiser of something else than its last result")
    return Block(block.kind, tuple(map(_float_spec, block.inputs)), tuple(kept))


def _float_spec(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.shape)
