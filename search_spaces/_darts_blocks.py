"""What networks and supernets of DARTS are made of: the places of cells, their blocks, and how they are stacked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from search_spaces._darts_cells import EDGES, INCOMING, NODES, OPERATIONS, Cell
from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from search_spaces._operators import pointwise, relu_conv_bn
from search_spaces._supergraph import Cells, Edge, Supergraph, Supernet, channels

#: The pictures' channels after the stem of the CIFAR skeleton, in channels of the first cell.
_STEM_FACTOR = 3


@dataclass(frozen=True)
class Skeleton:
    """What all networks of the space with the same options share."""

    width: int
    cells: int
    imagenet: int
    resolution: int
    classes: int
    batch: int

    @property
    def input(self) -> TensorSpec:
        """Return the type of the picture."""
        return TensorSpec((self.batch, 3, self.resolution, self.resolution))

    def spec(self, channels: int, side: int) -> TensorSpec:
        """Return the type of a square tensor."""
        return TensorSpec((self.batch, channels, side, side))


@dataclass(frozen=True)
class _Place:
    """Where a cell stands: the types of its two inputs, and of its nodes."""

    before: TensorSpec
    last: TensorSpec
    node: TensorSpec
    reduces: bool

    @property
    def entry(self) -> TensorSpec:
        """Return the type of both inputs after preprocessing."""
        return TensorSpec((*self.node.shape[:2], *self.last.shape[2:]))

    @property
    def output(self) -> TensorSpec:
        """Return the type of the cell's output."""
        batch, channels, *sides = self.node.shape
        return TensorSpec((batch, NODES * channels, *sides))


@lru_cache(maxsize=64)
def _places(skeleton: Skeleton) -> tuple[_Place, ...]:
    """Return the cells from the first to the last."""
    width, side = skeleton.width, skeleton.resolution
    before = last = skeleton.spec(_STEM_FACTOR * width, side)
    if skeleton.imagenet:
        before, last = skeleton.spec(width, side // 4), skeleton.spec(width, side // 8)
        side //= 8
    found = []
    for number in range(skeleton.cells):
        reduces = number in (skeleton.cells // 3, 2 * skeleton.cells // 3)
        if reduces:
            width, side = 2 * width, side // 2
        place = _Place(before, last, skeleton.spec(width, side), reduces)
        before, last = last, place.output
        found.append(place)
    return tuple(found)


def graph_of(skeleton: Skeleton, cells: tuple[Cell, Cell]) -> Graph:
    """Return the network of a normal and a reduction cell; a skip that changes nothing is not called."""
    calls: list[Call] = []
    for i, block in enumerate(_stems(skeleton)):
        calls.append(Call(f"stem{i}", block, (calls[-1].name if calls else "input",)))
    before, last = calls[0].name, calls[-1].name
    for number, place in enumerate(_places(skeleton)):
        before, last = last, _add_cell(calls, f"c{number}", cells[place.reduces], place, (before, last))
    calls.append(Call("head", _head(_places(skeleton)[-1].output, skeleton.classes), (last,)))
    return Graph(skeleton.input, tuple(calls))


def supergraph_of(skeleton: Skeleton, style: Supernet) -> Supergraph:
    """Return the supernet of a skeleton; raise UsageError for a width that cannot be divided."""
    if skeleton.width % (2 * style.bottleneck * style.partial):
        raise UsageError(f"a width of {skeleton.width} cannot be divided by {2 * style.bottleneck * style.partial}")
    cells = Cells(style)
    before, last = "stem0", "input"
    for i, block in enumerate(_stems(skeleton)):
        last = cells.call(f"stem{i}", block, last)
    places = _places(skeleton)
    for number, place in enumerate(places):
        before, last = last, _add_super_cell(cells, number, place, (before, last))
    cells.call("head", _head(places[-1].output, skeleton.classes), last)
    rows = (len(OPERATIONS) + 1,) * (2 * EDGES)
    if style.partial > 1:
        rows += tuple(map(len, INCOMING)) * 2
    kinds = tuple("reduction" if place.reduces else "normal" for place in places)
    return Supergraph(skeleton.input, tuple(cells.steps), rows, kinds)


def row_costs_of(skeleton: Skeleton, cost: Callable[[Block], float]) -> tuple[float, list[NDArray[np.float64]]]:
    """Return what every network costs, and what a share of 1 of each choice adds."""
    places = _places(skeleton)
    fixed = [*_stems(skeleton), _head(places[-1].output, skeleton.classes)]
    rows = [np.zeros(len(OPERATIONS) + 1) for _ in range(2 * EDGES)]
    for place in places:
        fixed += [*_preprocessing(place), *[_sum(place.node)] * NODES, _joint(place.node)]
        for incoming in INCOMING:
            for source, edge in enumerate(incoming):
                found = (_edge_block(name, _state(place, source), place.node) for name in OPERATIONS)
                rows[place.reduces * EDGES + edge][1:] += [0.0 if item is None else cost(item) for item in found]
    return sum(map(cost, fixed)), rows


def _add_cell(calls: list[Call], prefix: str, cell: Cell, place: _Place, inputs: tuple[str, str]) -> str:
    """Append one cell's calls and return the name of its output."""
    states = [f"{prefix}in0", f"{prefix}in1"]
    calls += [
        Call(name, block, (source,)) for name, block, source in zip(states, _preprocessing(place), inputs, strict=True)
    ]
    for node, edges in enumerate(cell):
        terms = []
        for operation, source in edges:
            block = _edge_block(operation, _state(place, source), place.node)
            if block is None:
                terms.append(states[source])
                continue
            name = f"{prefix}e{source}{node + 2}"
            calls.append(Call(name, block, (states[source],)))
            terms.append(name)
        states.append(f"{prefix}n{node + 2}")
        calls.append(Call(states[-1], _sum(place.node), tuple(terms)))
    calls.append(Call(prefix, _joint(place.node), tuple(states[2:])))
    return prefix


def _add_super_cell(cells: Cells, number: int, place: _Place, inputs: tuple[str, str]) -> str:
    """Append one cell of a supernet and return the name of its output."""
    style, prefix = cells.style, f"c{number}"
    inner = replace(place, node=channels(place.node, place.node.shape[1] // style.bottleneck))
    named = zip(("in0", "in1"), _preprocessing(inner), inputs, strict=True)
    states = [cells.call(prefix + name, block, source) for name, block, source in named]
    kind = int(place.reduces)
    for node, rows in enumerate(INCOMING):
        edges = []
        for source, row in enumerate(rows):
            spec = _state(inner, source)
            front, after = (channels(item, item.shape[1] // style.partial) for item in (spec, inner.node))
            blocks = ((i, _search_block(name, front, after)) for i, name in enumerate(OPERATIONS, 1))
            edges.append(Edge(states[source], spec, kind * EDGES + row, tuple(blocks)))
        beta = 2 * EDGES + kind * NODES + node
        states.append(cells.node(f"{prefix}n{node + 2}", number, inner.node, edges, beta))
    joint = cells.call(f"{prefix}joint", _joint(inner.node), *states[2:])
    if style.bottleneck == 1:
        return joint
    return cells.call(f"{prefix}out", pointwise(inner.output, place.output), joint)


def _search_block(operation: str, before: TensorSpec, after: TensorSpec) -> Block | None:
    """Return the block of an operation in a supernet: a pooling is normalised, as others are."""
    block = _edge_block(operation, before, after)
    if block is None or "pool" not in operation:
        return block
    return _normalised(block)


@lru_cache(maxsize=256)
def _normalised(block: Block) -> Block:
    spec = block.output
    bn = Operator("bn", "batch_norm", (block.operators[-1].name,), spec, spec)
    return Block(f"{block.kind}_bn", block.inputs, (*block.operators, bn))


def _state(place: _Place, source: int) -> TensorSpec:
    return place.entry if source < 2 else place.node


@lru_cache(maxsize=64)
def blocks_of(skeleton: Skeleton) -> tuple[Block, ...]:
    found: dict[str, Block] = {}
    for place in _places(skeleton):
        edges = [_edge_block(name, _state(place, source), place.node) for source in (0, 2) for name in OPERATIONS]
        of_place = [*_preprocessing(place), *filter(None, edges), _sum(place.node), _joint(place.node)]
        found |= {block.key: block for block in of_place}
    ends = (*_stems(skeleton), _head(_places(skeleton)[-1].output, skeleton.classes))
    return tuple((found | {block.key: block for block in ends}).values())


@lru_cache(maxsize=256)
def _stems(skeleton: Skeleton) -> tuple[Block, ...]:
    entry, width = skeleton.input, skeleton.width
    if not skeleton.imagenet:
        spec = skeleton.spec(_STEM_FACTOR * width, skeleton.resolution)
        conv = Operator("conv", "conv2d", ("in0",), entry, spec, kernel=3, padding=1)
        return (Block("stem", (entry,), (conv, Operator("bn", "batch_norm", ("conv",), spec, spec))),)
    half = skeleton.spec(width // 2, skeleton.resolution // 2)
    quarter, eighth = (skeleton.spec(width, skeleton.resolution // factor) for factor in (4, 8))
    first = (
        Operator("a_conv", "conv2d", ("in0",), entry, half, kernel=3, stride=2, padding=1),
        Operator("a_bn", "batch_norm", ("a_conv",), half, half),
        *relu_conv_bn("b_", "a_bn", half, quarter, 3, 2),
    )
    return (
        Block("stem0", (entry,), first),
        Block("stem1", (quarter,), relu_conv_bn("", "in0", quarter, eighth, 3, 2)),
    )


def _preprocessing(place: _Place) -> tuple[Block, Block]:
    """Return what makes the two inputs of a cell alike in resolution and channels."""
    halves = place.before.shape[2:] != place.last.shape[2:]
    first = _factorised if halves else pointwise
    return first(place.before, place.entry), pointwise(place.last, place.entry)


def _edge_block(operation: str, before: TensorSpec, after: TensorSpec) -> Block | None:
    """Return the block of an operation from one type to another, None for the identity."""
    if operation == "skip_connect":
        return None if before == after else _factorised(before, after)
    return _operation(operation, before, after)


@lru_cache(maxsize=1024)
def _operation(name: str, before: TensorSpec, after: TensorSpec) -> Block:
    kernel, stride = int(name[-1]), before.shape[2] // after.shape[2]
    if name in ("max_pool_3x3", "avg_pool_3x3"):
        pool = Operator("pool", "max_pool2d" if name == "max_pool_3x3" else "avg_pool2d", ("in0",), before, after,
                        kernel=3, stride=stride, padding=1)  # fmt: skip
        return Block(name, (before,), (pool,))
    if name.startswith("dil"):
        return Block(name, (before,), _separable("", "in0", before, after, kernel, stride, dilation=2))
    first = _separable("a_", "in0", before, after, kernel, stride)
    return Block(name, (before,), (*first, *_separable("b_", "a_bn", after, after, kernel, 1)))


def _separable(
    prefix: str, source: str, before: TensorSpec, after: TensorSpec, kernel: int, stride: int, dilation: int = 1
) -> tuple[Operator, ...]:
    """Return ReLU, depthwise and pointwise convolution, normalisation."""
    relu, depthwise, pointwise = (f"{prefix}{name}" for name in ("relu", "depthwise", "pointwise"))
    padding = dilation * (kernel // 2)
    return (
        Operator(relu, "relu", (source,), before, before),
        Operator(depthwise, "conv2d", (relu,), before, after, kernel, stride, padding, before.shape[1], dilation),
        Operator(pointwise, "conv2d", (depthwise,), after, after),
        Operator(f"{prefix}bn", "batch_norm", (pointwise,), after, after),
    )


@lru_cache(maxsize=256)
def _factorised(before: TensorSpec, after: TensorSpec) -> Block:
    """Return half of the channels from the even places, the other half from the odd ones."""
    batch, channels, *sides = after.shape
    half, cropped = TensorSpec((batch, channels // 2, *sides)), _cropped(before)
    operators = (
        Operator("relu", "relu", ("in0",), before, before),
        Operator("even", "conv2d", ("relu",), before, half, stride=2),
        Operator("crop", "crop", ("relu",), before, cropped),
        Operator("odd", "conv2d", ("crop",), cropped, half, stride=2),
        Operator("join", "concat", ("even", "odd"), half, after),
        Operator("bn", "batch_norm", ("join",), after, after),
    )
    return Block("factorised_reduce", (before,), operators)


def _cropped(spec: TensorSpec) -> TensorSpec:
    batch, channels, height, width = spec.shape
    return TensorSpec((batch, channels, height - 1, width - 1))


@lru_cache(maxsize=256)
def _sum(spec: TensorSpec) -> Block:
    return Block("sum2", (spec, spec), (Operator("add", "add", ("in0", "in1"), spec, spec),))


@lru_cache(maxsize=256)
def _joint(spec: TensorSpec) -> Block:
    batch, channels, *sides = spec.shape
    after = TensorSpec((batch, NODES * channels, *sides))
    names = tuple(f"in{i}" for i in range(NODES))
    return Block("concat", (spec,) * NODES, (Operator("concat", "concat", names, spec, after),))


@lru_cache(maxsize=256)
def _head(spec: TensorSpec, classes: int) -> Block:
    pooled, out = TensorSpec(spec.shape[:2]), TensorSpec((spec.shape[0], classes))
    operators = (
        Operator("pool", "global_avg_pool", ("in0",), spec, pooled),
        Operator("classifier", "linear", ("pool",), pooled, out, bias=True),
    )
    return Block("head", (spec,), operators)
