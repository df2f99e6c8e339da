"""Physical features: what a network costs a machine, the same length for every space.

They are taken from the live graph (no dead calls, no constants): what is left for a runtime to run.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search_spaces._graph import Block, Graph, Operator

_CLASSES = ("conv1x1", "conv3x3", "conv_other", "depthwise", "linear", "pool", "add", "relu", "norm")
_PER_CLASS = ("n", "macs", "bytes")
_OF_GRAPH = (
    "weight_bytes",
    "relu_tensors",
    "relu_tensor_bytes",
    "depth",
    "peak_activation_bytes",
    "arithmetic_intensity",
)
FEATURES: tuple[str, ...] = (*(f"{what}_{name}" for name in _CLASSES for what in _PER_CLASS), *_OF_GRAPH)


def physical_features(graph: Graph) -> NDArray[np.float64]:
    """Return the features of a graph, shape (len(FEATURES),); all 0 where the output ignores the input.

    Per class of kernel: how many, their multiply-adds, the activation bytes they read and write. Then weight bytes,
    distinct tensors that a ReLU reads (a runtime shares their result) with their bytes, operators on the longest
    path, the most activation bytes alive at once, and multiply-adds per byte moved.
    """
    if not graph.connected:
        return np.zeros(len(FEATURES))
    live = graph.live()
    found = np.zeros(len(FEATURES))
    n_classes = len(_CLASSES) * len(_PER_CLASS)
    for block, n in live.block_counts.items():
        found[: n_classes + 1] += n * _of_block(block)
    relu_reads = {call.inputs[0]: call.block for call in live.calls if call.block.operators[0].kind == "relu"}
    moved = found[2:n_classes:3].sum() + found[n_classes]
    found[n_classes + 1 :] = (
        len(relu_reads),
        sum(block.inputs[0].size_bytes for block in relu_reads.values()),
        _depth(live),
        _peak_activation_bytes(live),
        found[1:n_classes:3].sum() / moved,
    )
    return found


@lru_cache(maxsize=4096)
def _of_block(block: Block) -> NDArray[np.float64]:
    """Return the per-class features of a block and its weight bytes."""
    table = np.zeros((len(_CLASSES), len(_PER_CLASS)))
    for operator in block.operators:
        name = _class_of(operator)
        if name is None or _is_folded(operator, block):
            continue
        moved = operator.input_spec.size_bytes * len(operator.inputs) + operator.output_spec.size_bytes
        table[_CLASSES.index(name)] += (1, operator.macs, moved)
    weight_bytes = sum(op.params * op.weight_bits / 8 for op in block.operators)
    return np.append(table.ravel(), weight_bytes)


def _class_of(operator: Operator) -> str | None:
    if operator.kind == "conv2d":
        if operator.groups > 1 and operator.groups == operator.input_spec.shape[1]:
            return "depthwise"
        return {1: "conv1x1", 3: "conv3x3"}.get(operator.kernel, "conv_other")
    classes = {"linear": "linear", "avg_pool2d": "pool", "global_avg_pool": "pool"}
    return {**classes, "add": "add", "relu": "relu", "batch_norm": "norm"}.get(operator.kind)


def _is_folded(operator: Operator, block: Block) -> bool:
    kinds = {op.name: op.kind for op in block.operators}
    return operator.kind == "batch_norm" and kinds.get(operator.inputs[0]) == "conv2d"


def _depth(graph: Graph) -> int:
    """Return the number of operators on the longest path from input to output."""
    depth = {"input": 0}
    for call in graph.calls:
        depth[call.name] = max(depth[name] for name in call.inputs) + len(call.block.operators)
    return depth[graph.output]


def _peak_activation_bytes(graph: Graph) -> int:
    """Return the most bytes of call outputs alive at once when calls run in order."""
    last_use = {name: i for i, call in enumerate(graph.calls) for name in call.inputs}
    dying: dict[int, list[str]] = {}
    for name, i in last_use.items():
        dying.setdefault(i, []).append(name)
    size = {"input": graph.input.size_bytes}
    alive = peak = size["input"]
    for i, call in enumerate(graph.calls):
        size[call.name] = call.block.output.size_bytes
        alive += size[call.name]
        peak = max(peak, alive)
        alive -= sum(size[name] for name in dying.get(i, ()))
    return peak
