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
    "macs",
    "activation_bytes",
    "arithmetic_intensity",
    "relu_tensors",
    "relu_tensor_bytes",
    "depth",
    "peak_activation_bytes",
    "peak_tensors",
)
_N_CLASSES = len(_CLASSES) * len(_PER_CLASS)
#: Names of the features, in their order.
FEATURES: tuple[str, ...] = (*(f"{what}_{name}" for name in _CLASSES for what in _PER_CLASS), *_OF_GRAPH)


def physical_features(graph: Graph) -> NDArray[np.float64]:
    """Return the features of a graph, shape (len(FEATURES),); all 0 where the output ignores the input.

    Per class of kernel: how many, their multiply-adds, the activation bytes they read and write; what rounds a tensor
    to fixed point and what shuffles, joins or crops count as normalisations, since they pass over a tensor as those do.
    Then weight bytes, the sums of multiply-adds and of activation bytes, multiply-adds per byte moved, distinct tensors
    between blocks that a ReLU reads (a runtime shares their result) with their bytes, operators on the longest path,
    and the most bytes and the most tensors between blocks alive at once.
    """
    if not graph.connected:
        return np.zeros(len(FEATURES))
    live = graph.live()
    counted = np.zeros(_N_CLASSES + 1)
    for block, n in live.block_counts.items():
        counted += n * _of_block(block)
    weight_bytes = counted[_N_CLASSES]
    macs, activation_bytes = counted[1:_N_CLASSES:3].sum(), counted[2:_N_CLASSES:3].sum()
    intensity = macs / (activation_bytes + weight_bytes)
    relu_reads = {call.inputs[0]: call.block for call in live.calls if call.block.operators[0].kind == "relu"}
    relu_bytes = sum(block.inputs[0].size_bytes for block in relu_reads.values())
    rest = (macs, activation_bytes, intensity, len(relu_reads), relu_bytes, _depth(live), *peaks(live))
    return np.concatenate([counted, rest])


@lru_cache(maxsize=4096)
def _of_block(block: Block) -> NDArray[np.float64]:
    """Return the per-class features of a block and its weight bytes."""
    table = np.zeros((len(_CLASSES), len(_PER_CLASS)))
    for operator in block.operators:
        name = kernel_class(operator)
        if name is None or operator.name in block.folded.values():
            continue
        table[_CLASSES.index(name)] += (1, operator.macs, operator.moved_bytes)
    weight_bytes = sum(op.params * op.weight_bits / 8 for op in block.operators)
    return np.append(table.ravel(), weight_bytes)


def kernel_class(operator: Operator) -> str | None:
    if operator.traced is not None:
        return operator.traced.like or None
    if operator.kind == "conv2d":
        if operator.groups > 1 and operator.groups == operator.input_spec.shape[1]:
            return "depthwise"
        return {1: "conv1x1", 3: "conv3x3"}.get(operator.kernel, "conv_other")
    classes = {"linear": "linear", "avg_pool2d": "pool", "max_pool2d": "pool", "global_avg_pool": "pool"}
    norms = dict.fromkeys(("batch_norm", "quantise", "channel_shuffle", "concat", "crop"), "norm")
    return {**classes, **norms, "add": "add", "relu": "relu"}.get(operator.kind)


def _depth(graph: Graph) -> int:
    """Return the number of operators on the longest path from input to output."""
    depth = {"input": 0}
    for call in graph.calls:
        depth[call.name] = max(depth[name] for name in call.inputs) + _block_depth(call.block)
    return depth[graph.output]


@lru_cache(maxsize=4096)
def _block_depth(block: Block) -> int:
    depth: dict[str, int] = {}
    for operator in block.operators:
        depth[operator.name] = (not operator.is_view) + max((depth.get(name, 0) for name in operator.inputs), default=0)
    return depth[block.operators[-1].name]


def peaks(graph: Graph) -> tuple[int, int]:
    """Return the most bytes and the most tensors between blocks alive at once when calls run in order."""
    last_use = {name: i for i, call in enumerate(graph.calls) for name in call.inputs}
    dying: dict[int, list[str]] = {}
    for name, i in last_use.items():
        dying.setdefault(i, []).append(name)
    size = {"input": graph.input.size_bytes}
    alive = peak = size["input"]
    tensors = peak_tensors = 1
    for i, call in enumerate(graph.calls):
        size[call.name] = _output_bytes(call.block)
        alive += size[call.name]
        tensors += 1
        peak, peak_tensors = max(peak, alive), max(peak_tensors, tensors)
        for name in dying.get(i, ()):
            alive -= size[name]
            tensors -= 1
    return peak, peak_tensors


@lru_cache(maxsize=4096)
def _output_bytes(block: Block) -> int:
    return block.output.size_bytes
