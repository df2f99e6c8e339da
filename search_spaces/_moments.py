"""How large the numbers in a network are, estimated without running it.

Trained networks normalise; one with neutral statistics does not, and sums of skips grow without bound from cell to
cell. With these estimates as running variances activations stay near one, and views can be compared absolutely.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

from search_spaces._graph import Call, Graph, Operator
from search_spaces._quantiser import FixedPoint, normal_mean_square

#: A tensor as a sum of independent sources of mean square 1: source -> coefficient.
Mixture = dict[str, float]


def running_variances(graph: Graph) -> dict[str, float]:
    """Return `call.operator` -> estimated mean square of what each batch normalisation reads.

    The input has mean square 1. Random weights make a new, independent source: He-normal ones double the mean square,
    ReLU halves it, a shuffle keeps it, normalisation makes it 1, rounding to a format makes it that of a rounded normal
    number. Sums and averages are linear, so that a skip that meets itself again counts in full (an average or a maximum
    is taken to keep its input's size). Joined channels are a new source of their mean. Constant zeros get variance 1.
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


def weight_deviation(operator: Operator) -> float:
    """Return the standard deviation of the seeded weights of a convolution or a linear layer: He-normal, fan in.

    Fixed-point weights get at least half a step: He-normal ones would all round to 0 in a coarse format.
    """
    return he_normal(_fan_in(operator), [] if operator.form is None else [operator.form])


def he_normal(fan_in: int, forms: Iterable[FixedPoint]) -> float:
    """Return the standard deviation of seeded weights, rounded to formats: at least half of the largest step."""
    return max([sqrt(2.0 / fan_in), *(0.5 * form.step for form in forms)])


def _fan_in(operator: Operator) -> int:
    window = operator.kernel**2 if operator.kind == "conv2d" else 1
    return operator.input_spec.shape[1] // operator.groups * window


def _inside(operator: Operator) -> float:
    """Return the share of a convolution's products that padding leaves: on small pictures few of a large window."""
    before, after = operator.input_spec.shape[2], operator.output_spec.shape[2]
    places = range(-operator.padding, operator.kernel * operator.dilation - operator.padding, operator.dilation)
    inside = sum(0 <= i * operator.stride + place < before for i in range(after) for place in places)
    return (inside / (after * operator.kernel)) ** 2


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
    if kind in ("avg_pool2d", "max_pool2d", "global_avg_pool", "flatten", "crop"):
        return inputs[0]
    if kind == "concat":
        return {name: sqrt(sum(map(_mean_square, inputs)) / len(inputs))}
    mean_square = _mean_square(inputs[0])
    if mean_square == 0.0:
        return {}
    if kind == "batch_norm":
        return {name: 1.0}
    if kind == "relu":
        return {name: sqrt(mean_square / 2)}
    if kind == "channel_shuffle":
        return {name: sqrt(mean_square)}
    if operator.form is None:
        return {name: sqrt(2 * mean_square)}
    if kind == "quantise":
        return {name: sqrt(_rounded(inputs[0], operator.form))}
    weight_square = normal_mean_square(weight_deviation(operator), operator.form)
    return {name: sqrt(_fan_in(operator) * _inside(operator) * weight_square * mean_square)}


def _rounded(mixture: Mixture, form: FixedPoint) -> float:
    """Return the mean square of a tensor after rounding: the network's input is normal, others are what ReLU leaves."""
    mean_square = _mean_square(mixture)
    if "input" in mixture:
        return normal_mean_square(sqrt(mean_square), form)
    return normal_mean_square(sqrt(2 * mean_square), form, rectified=True)


def _mean_square(mixture: Mixture) -> float:
    return sum(value * value for value in mixture.values())
