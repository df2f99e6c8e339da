"""What a runtime makes of a graph: shared results computed once, normalisations folded, sums fused into convolutions.

The rules are those that inference runtimes have in common: an operator without weights is computed once per input, a
normalisation that directly follows a convolution disappears into it, a convolution takes over one sum and one ReLU
that are the only readers of its result. What is left are kernels; who reads whom matters because a runtime keeps
some results in a layout of its own and converts between the two.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_spaces._graph import Block, Graph, Operator

_KINDS = ("conv1x1", "convkxk", "depthwise", "linear", "pool", "add", "add_constant", "relu", "norm", "other")
_CONV1X1, _CONVKXK, _DEPTHWISE, _LINEAR, _POOL, _ADD, _ADD_CONSTANT, _RELU, _NORM, _OTHER = range(len(_KINDS))
_WRITERS = (_CONV1X1, _CONVKXK, _DEPTHWISE, _POOL, _ADD, _ADD_CONSTANT, _NORM)
_READERS = (_CONV1X1, _CONVKXK, _DEPTHWISE, _POOL, _ADD, _ADD_CONSTANT)
_N_CONVS = 3

#: Names of `kernel_features`: kernels by kind, their output elements, fusions, shared results, depth, who reads whom.
KERNEL_FEATURES: tuple[str, ...] = (
    *(f"n_{kind}" for kind in _KINDS),
    *(f"elements_{kind}" for kind in _KINDS),
    "n_fused_add",
    "n_fused_relu",
    "n_read_twice",
    "kernel_depth",
    *(f"{_KINDS[writer]}_to_{_KINDS[reader]}" for writer in _WRITERS for reader in _READERS),
)


class _Step(NamedTuple):
    """One operator of a block: sources are earlier steps (>= 0) or inputs of the block (-1 - i)."""

    kind: int
    elements: int
    signature: tuple[object, ...] | None
    sources: tuple[int, ...]
    folded: bool

    def with_constant(self) -> int:
        """Return the kind of kernel it is when one of its inputs is a constant: a sum cannot be fused then."""
        return _ADD_CONSTANT if self.kind == _ADD else self.kind


class _Kernels(NamedTuple):
    """Kernels in the order they run, as parallel lists; a source of -1 is the network's input."""

    kinds: list[int]
    elements: list[int]
    sources: list[tuple[int, ...]]
    output: int


def kernel_features(graph: Graph) -> NDArray[np.float64]:
    """Return the features of the kernels a runtime is left with, shape (len(KERNEL_FEATURES),).

    All 0 where the output ignores the input.
    """
    found = np.zeros(len(KERNEL_FEATURES))
    if not graph.connected:
        return found
    kernels = _kernels(graph.live())
    readers = [0] * len(kernels.kinds)
    for sources in kernels.sources:
        for source in sources:
            if source >= 0:
                readers[source] += 1
    fused = _fused(kernels, readers)
    n = len(_KINDS)
    for i, kind in enumerate(kernels.kinds):
        if i in fused:
            found[2 * n + (kind == _RELU)] += 1
            continue
        found[kind] += 1
        found[n + kind] += kernels.elements[i]
        found[2 * n + 2] += readers[i] > 1
    found[2 * n + 3] = _depth(kernels)
    found[2 * n + 4 :] = _readings(kernels)
    return found


def _kernels(graph: Graph) -> _Kernels:
    kinds: list[int] = []
    elements: list[int] = []
    kernel_sources: list[tuple[int, ...]] = []
    known: dict[tuple[object, ...], int] = {}
    tensors = {"input": -1}
    for call in graph.calls:
        local: list[int] = []
        for step in _steps(call.block):
            # A constant input is gone from a live graph; the kernel that reads it stays.
            sources = tuple(
                local[i] if i >= 0 else tensors[call.inputs[-1 - i]] for i in step.sources if -1 - i < len(call.inputs)
            )
            if step.folded:
                local.append(sources[0])
                continue
            key = (step.signature, *sorted(sources)) if step.signature else None
            place = known.get(key, -1) if key else -1
            if place < 0:
                place = len(kinds)
                kinds.append(step.kind if len(sources) == len(step.sources) else step.with_constant())
                elements.append(step.elements)
                kernel_sources.append(sources)
                if key:
                    known[key] = place
            local.append(place)
        tensors[call.name] = local[-1]
    return _Kernels(kinds, elements, kernel_sources, tensors[graph.output])


@lru_cache(maxsize=4096)
def _steps(block: Block) -> tuple[_Step, ...]:
    places = {operator.name: i for i, operator in enumerate(block.operators)}
    kinds = {operator.name: operator.kind for operator in block.operators}
    return tuple(
        _Step(
            _kind(operator),
            operator.output_spec.elements,
            _signature(operator),
            tuple(places[name] if name in places else -1 - int(name.removeprefix("in")) for name in operator.inputs),
            operator.is_view or (operator.kind == "batch_norm" and kinds.get(operator.inputs[0]) == "conv2d"),
        )
        for operator in block.operators
    )


def _signature(operator: Operator) -> tuple[object, ...] | None:
    """Return what two operators of equal inputs share when they give the same; None for one with weights of its own."""
    if operator.params:
        return None
    window = (operator.kernel, operator.stride, operator.groups)
    return (operator.kind, *window, operator.output_spec.shape, operator.traced)


def _kind(operator: Operator) -> int:
    if operator.traced is not None:
        return _RELU if operator.traced.name in _ACTIVATIONS else _TRACED.get(operator.traced.like, _OTHER)
    if operator.kind == "conv2d":
        if operator.groups > 1 and operator.groups == operator.input_spec.shape[1]:
            return _DEPTHWISE
        return _CONV1X1 if operator.kernel == 1 else _CONVKXK
    kinds = {"linear": _LINEAR, "avg_pool2d": _POOL, "global_avg_pool": _POOL, "batch_norm": _NORM}
    return {**kinds, "add": _ADD, "relu": _RELU}.get(operator.kind, _OTHER)


#: Traced operators that runtimes fuse into a convolution as they do a ReLU.
_ACTIVATIONS = ("hardtanh", "leaky_relu", "sigmoid", "tanh", "hardsigmoid")
#: Class of a traced operator's costs -> kind of kernel; the others are kernels of their own.
_TRACED = {
    "conv1x1": _CONV1X1,
    "conv3x3": _CONVKXK,
    "conv_other": _CONVKXK,
    "depthwise": _DEPTHWISE,
    "linear": _LINEAR,
    "pool": _POOL,
    "norm": _NORM,
}


def _fused(kernels: _Kernels, readers: list[int]) -> set[int]:
    """Return the sums and ReLUs that convolutions take over, one of each per convolution at most."""
    fused: set[int] = set()
    taken: set[int] = set()
    for i, kind in enumerate(kernels.kinds):
        alone = [source for source in kernels.sources[i] if source >= 0 and readers[source] == 1]
        if kind == _ADD:
            free = [source for source in alone if kernels.kinds[source] < _N_CONVS and source not in taken]
            if free:
                taken.add(free[-1])
                fused.add(i)
        elif kind == _RELU and alone and (kernels.kinds[alone[0]] < _N_CONVS or alone[0] in fused):
            fused.add(i)
    return fused


def _depth(kernels: _Kernels) -> int:
    depths: list[int] = []
    for sources in kernels.sources:
        depths.append(1 + max((depths[source] for source in sources if source >= 0), default=0))
    return depths[kernels.output]


def _readings(kernels: _Kernels) -> NDArray[np.float64]:
    """Return how often a kernel of each kind reads the result of each kind, ReLUs in between not seen."""
    writers: list[int] = []
    for i, kind in enumerate(kernels.kinds):
        source = kernels.sources[i][0] if kernels.sources[i] else -1
        writers.append(writers[source] if kind == _RELU and source >= 0 else kind)
    counts = np.zeros((len(_KINDS), len(_KINDS)))
    for i, reader in enumerate(kernels.kinds):
        for source in kernels.sources[i]:
            if source >= 0:
                counts[writers[source], reader] += 1
    return counts[np.ix_(_WRITERS, _READERS)].ravel()
