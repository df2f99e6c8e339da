"""What a runtime has to do for a network, in numbers that every space and every device share.

Three graphs are told apart. Frameworks that run networks as they were written run what cannot reach the output, too;
converters leave that out, but keep what is fed by constants; others fold the constants as well.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from search_spaces._features import kernel_class, peaks
from search_spaces._graph import Block, Graph

#: Which graph a runtime may run.
MODES = ("as_trained", "without_dead", "live")
_CLASSES = ("conv1x1", "conv3x3", "conv_other", "depthwise", "linear", "pool", "add", "relu", "norm", "other")
_WITH_MACS = ("conv1x1", "conv3x3", "conv_other", "depthwise", "linear")
_N = len(_CLASSES)

#: Names of `graph_features`.
FEATURES = (
    *(f"n_{name}" for name in _CLASSES),
    *(f"bytes_{name}" for name in _CLASSES),
    *(f"macs_{name}" for name in _WITH_MACS),
    "weight_bytes",
    "depth",
    "depth_weights",
    "depth_macs",
    "relu_tensors",
    "raw_tensors",
    "read_twice",
    "fed_by_constants",
    "peak_bytes",
)


def graphs_of(graph: Graph) -> tuple[Graph, ...]:
    """Return the graph that runs in each of MODES."""
    return graph, graph.without_dead(), graph.live()


def graph_features(graph: Graph) -> NDArray[np.float64]:
    """Return the features of a graph as it stands, shape (len(FEATURES),).

    Per class of kernel how many and the activation bytes they move, multiply-adds of those that have them; bytes of
    weights. The longest path in operators, in operators with weights and in multiply-adds. Distinct tensors between
    blocks that a ReLU reads, that anything else reads, and that are read more than once; blocks that depend on no
    input though they have one; the most bytes between blocks alive at once, in the order of the calls.
    """
    counted = np.zeros(2 * _N + len(_WITH_MACS) + 1)
    for block, n in graph.block_counts.items():
        if block.inputs:
            counted += n * _of_block(block)
    return np.concatenate([counted, _paths(graph), _tensors(graph), [peaks(graph)[0]]])


def mode_features(graph: Graph) -> NDArray[np.float64]:
    """Return the features of the graph in each of MODES, shape (len(MODES), len(FEATURES)); 0 where nothing is left."""
    if not graph.connected:
        return np.zeros((len(MODES), len(FEATURES)))
    found = [graph_features(graph)]
    for before, after in pairwise(graphs_of(graph)):
        # Most networks have nothing to leave out.
        same = len(after.calls) == len(before.calls) and after.calls == before.calls
        found.append(found[-1] if same else graph_features(after))
    return np.stack(found)


@lru_cache(maxsize=4096)
def _of_block(block: Block) -> NDArray[np.float64]:
    found = np.zeros(2 * _N + len(_WITH_MACS) + 1)
    folded = set(block.folded.values())
    for operator in block.operators:
        found[-1] += operator.params * operator.weight_bits / 8
        if operator.is_view or operator.name in folded:
            continue
        name = kernel_class(operator) or "other"
        place = _CLASSES.index(name)
        found[place] += 1
        found[_N + place] += operator.moved_bytes
        if name in _WITH_MACS:
            found[2 * _N + _WITH_MACS.index(name)] += operator.macs
    return found


@lru_cache(maxsize=4096)
def _block_path(block: Block) -> tuple[float, float, float]:
    """Return operators, operators with weights and multiply-adds on a block's longest path, each by itself."""
    folded = set(block.folded.values())
    paths: dict[str, NDArray[np.float64]] = {}
    for operator in block.operators:
        own = np.zeros(3)
        if not operator.is_view and operator.name not in folded:
            own[:] = 1, operator.macs > 0, operator.macs
        before = [paths[name] for name in operator.inputs if name in paths]
        paths[operator.name] = own + (np.max(before, axis=0) if before else 0.0)
    operators, weights, macs = paths[block.operators[-1].name].tolist()
    return operators, weights, macs


def _paths(graph: Graph) -> NDArray[np.float64]:
    paths = {"input": (0.0, 0.0, 0.0)}
    for call in graph.calls:
        operators, weights, macs = _block_path(call.block)
        before = [paths[name] for name in call.inputs]
        longest = tuple(map(max, *before)) if len(before) > 1 else (*before, (0.0, 0.0, 0.0))[0]
        paths[call.name] = (operators + longest[0], weights + longest[1], macs + longest[2])
    return np.array(paths[graph.output])


def _tensors(graph: Graph) -> list[float]:
    by_relu: set[str] = set()
    raw: set[str] = set()
    readers: Counter[str] = Counter()
    dependent = {"input"}
    fed_by_constants = 0
    for call in graph.calls:
        if not call.inputs:
            continue
        readers.update(call.inputs)
        (by_relu if call.block.operators[0].kind == "relu" else raw).update(call.inputs)
        if dependent.isdisjoint(call.inputs):
            fed_by_constants += 1
        else:
            dependent.add(call.name)
    twice = sum(n > 1 for n in readers.values())
    return [len(by_relu), len(raw), twice, fed_by_constants]
