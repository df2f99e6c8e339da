"""How large the numbers in a network are, estimated without running it.

Trained networks normalise; one with neutral statistics does not, and sums of skips grow without bound from cell to
cell. With these estimates as running variances activations stay near one, and views can be compared absolutely.
"""

from __future__ import annotations

from math import sqrt

from search_spaces._graph import Call, Graph, Operator

#: A tensor as a sum of independent sources of mean square 1: source -> coefficient.
Mixture = dict[str, float]


def running_variances(graph: Graph) -> dict[str, float]:
    """Return `call.operator` -> estimated mean square of what each batch normalisation reads.

    The input has mean square 1. Random weights make a new, independent source: He-normal ones double the mean square,
    ReLU halves it, normalisation makes it 1. Sums and averages are linear, so that a skip that meets itself again
    counts in full (an average is taken to keep its input's size). Constant zeros get variance 1.
    """
    tensors: dict[str, Mixture] = {"input": {"input": 1.0}}
    found: dict[str, float] = {}
    for call in graph.calls:
        local: dict[str, Mixture] = {}
        for operator in call.block.operators:
            name = f"{call.name}.{operator.name}"
            inputs = [_input(call, source, tensors, local) for source in operator.inputs]
            if operator.kind == "batch_norm":
                found[name] = _mean_square(inputs[0]) or 1.0
            local[operator.name] = _output(operator, name, inputs)
        tensors[call.name] = local[call.block.operators[-1].name]
    return found


def _input(call: Call, source: str, tensors: dict[str, Mixture], local: dict[str, Mixture]) -> Mixture:
    if source.startswith("in") and source[2:].isdigit():
        return tensors[call.inputs[int(source[2:])]]
    return local[source]


def _output(operator: Operator, name: str, inputs: list[Mixture]) -> Mixture:
    kind = operator.kind
    if kind == "zeros":
        return {}
    if kind == "add":
        left, right = inputs
        return {**left, **{source: left.get(source, 0.0) + value for source, value in right.items()}}
    if kind in ("avg_pool2d", "global_avg_pool"):
        return inputs[0]
    mean_square = _mean_square(inputs[0])
    if mean_square == 0.0:
        return {}
    if kind == "batch_norm":
        return {name: 1.0}
    return {name: sqrt(mean_square / 2 if kind == "relu" else 2 * mean_square)}


def _mean_square(mixture: Mixture) -> float:
    return sum(value * value for value in mixture.values())
