"""DARTS (Liu et al., ICLR 2019): a normal and a reduction cell of four nodes, each the sum of two operations.

A node reads two different ones of the cell's two inputs and the nodes before it; the cell's output is all four nodes,
one behind the other. Cells are stacked as published: the reduction cells stand at one and two thirds of the depth,
halve the resolution and double the channels. The skeleton is the one for pictures of CIFAR's size or that for
ImageNet, without the auxiliary head: the network that is deployed.
"""

from __future__ import annotations

import ast
import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from search_spaces._supergraph import Cells, Edge, Share, Supergraph, Supernet, channels, pointwise

OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NODES = 4
#: The pairs of sources (0, 1: the cell's inputs, 2 ...: nodes) that each node can read.
PAIRS = tuple(tuple(itertools.combinations(range(node + 2), 2)) for node in range(NODES))
#: The edges of a supernet's cell into each node, numbered from node to node.
_INCOMING = tuple(tuple(range(start, start + n)) for start, n in ((0, 2), (2, 3), (5, 4), (9, 5)))
_EDGES = 14
#: Of one cell: the choice of the pair, where there is more than one, and of the two operations, node by node.
_CELL = tuple(n for pairs in PAIRS for n in (len(pairs), len(OPERATIONS), len(OPERATIONS)) if n > 1)
#: The pictures' channels after the stem of the CIFAR skeleton, in channels of the first cell.
_STEM_FACTOR = 3
_EDGE = re.compile(r"(?P<operation>[^~]*)~(?P<source>[0-9]+)")
_FORM = (
    "Write a normal and a reduction cell of four nodes, NODE+NODE+NODE+NODE;NODE+NODE+NODE+NODE, where a NODE is for "
    "instance |sep_conv_3x3~0|skip_connect~1|; or Genotype(normal=[...], normal_concat=..., reduce=[...], ...)."
)

#: The two edges of every node: (operation, source).
Cell = tuple[tuple[tuple[str, int], tuple[str, int]], ...]


class Darts(SearchSpace):
    """The cell space of DARTS."""

    name = "darts"

    def __init__(
        self,
        *,
        width: int = 36,
        cells: int = 20,
        imagenet: int = 0,
        resolution: int | None = None,
        classes: int | None = None,
        batch: int = 1,
    ) -> None:
        """Set the skeleton: channels of the first cell, number of cells, pictures.

        Those are of CIFAR's size (32, 10 classes), or with `imagenet=1` of 224 (1000 classes), whose stem halves the
        resolution three times. The resolution is a multiple of 4, or then of 32.
        """
        if imagenet not in (0, 1):
            raise UsageError("darts: imagenet is 0 or 1")
        resolution = (224 if imagenet else 32) if resolution is None else resolution
        classes = (1000 if imagenet else 10) if classes is None else classes
        factor = 32 if imagenet else 4
        if min(width, cells, resolution, classes, batch) < 1 or width % 2 or resolution % factor:
            raise UsageError(
                f"darts needs positive options, an even width and a resolution that is a multiple of {factor}"
            )
        self._skeleton = _Skeleton(width, cells, imagenet, resolution, classes, batch)

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the constructor's keywords."""
        return dict(vars(self._skeleton))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Return the choices of the two cells: node by node the pair it reads, two operations."""
        return _CELL * 2

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return (batch, 3, resolution, resolution)."""
        return self._skeleton.input.shape

    def architecture(self, decisions: tuple[int, ...]) -> Architecture:
        """Return the network of decisions, in the order of `cardinalities`."""
        sizes = self.cardinalities
        if len(decisions) != len(sizes) or any(
            item not in range(size) for item, size in zip(decisions, sizes, strict=True)
        ):
            raise UsageError(
                f"{decisions!r} are no decisions of darts", f"{len(sizes)} indices below {sizes} are expected."
            )
        return _architecture(tuple(map(int, decisions)))

    def parse(self, text: str) -> Architecture:
        """Return the network of a text, or of a genotype as the authors' code prints it."""
        text = text.strip().removeprefix("darts:")
        if text.startswith("Genotype("):
            return _architecture(_decisions(_genotype_cells(text)))
        cells = text.split(";")
        if len(cells) != 2:
            raise UsageError(f"{text!r} is no network of darts", "Two cells joined by ';' are expected.", _FORM)
        return _architecture(_decisions([_cell(cell, text) for cell in cells]))

    def genotype(self, architecture: Architecture) -> str:
        """Return the cells as the authors' code names them."""
        normal, reduction = ([edge for node in cell for edge in node] for cell in _cells(architecture.decisions))
        return f"Genotype(normal={normal}, normal_concat=range(2, 6), reduce={reduction}, reduce_concat=range(2, 6))"

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return a network whose decisions are drawn uniformly."""
        return _architecture(tuple(int(rng.integers(size)) for size in self.cardinalities))

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a network with another choice in one decision."""
        decisions, sizes = list(architecture.decisions), self.cardinalities
        place = int(rng.integers(len(sizes)))
        decisions[place] = (decisions[place] + int(rng.integers(1, sizes[place]))) % sizes[place]
        return _architecture(tuple(decisions))

    def connected(self, architecture: Architecture) -> bool:
        """Return True: the first node reads both inputs of its cell, and no operation is zero."""
        return True

    def enumerate(self) -> Iterator[Architecture]:
        """Raise UsageError: there are 1.1e18."""
        count = float(np.prod(np.array(self.cardinalities, float)))
        raise UsageError(f"darts has {count:.1e} networks", "", "Draw some: --samples N")

    def canonical(self, architecture: Architecture) -> str:
        """Return the text: sources are in order, and the order of nodes is that of their channels."""
        return architecture.text

    def encode(self, architecture: Architecture) -> NDArray[np.float64]:
        """Return one-hot decisions, shape (150,)."""
        pairs = zip(architecture.decisions, self.cardinalities, strict=True)
        return np.concatenate([np.eye(size)[item] for item, size in pairs])

    def graph(self, architecture: Architecture) -> Graph:
        """Return the whole network; a skip that changes nothing is not called."""
        skeleton = self._skeleton
        calls: list[Call] = []
        for i, block in enumerate(_stems(skeleton)):
            calls.append(Call(f"stem{i}", block, (calls[-1].name if calls else "input",)))
        before, last = calls[0].name, calls[-1].name
        cells = _cells(architecture.decisions)
        for number, place in enumerate(_places(skeleton)):
            before, last = last, _add_cell(calls, f"c{number}", cells[place.reduces], place, (before, last))
        calls.append(Call("head", _head(_places(skeleton)[-1].output, skeleton.classes), (last,)))
        return Graph(skeleton.input, tuple(calls))

    def supergraph(self, style: Supernet) -> Supergraph:
        """Return the supernet: rows 0 to 13 are the edges of normal cells, 14 to 27 those of reduction cells.

        Choice 0 of an edge is none, the others are OPERATIONS. With partial channels the rows from 28 on are the shares
        of the edges into each node. Poolings are normalised, as in the authors' search.
        """
        skeleton = self._skeleton
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
        rows = (len(OPERATIONS) + 1,) * (2 * _EDGES)
        if style.partial > 1:
            rows += tuple(map(len, _INCOMING)) * 2
        kinds = tuple("reduction" if place.reduces else "normal" for place in places)
        return Supergraph(skeleton.input, tuple(cells.steps), rows, kinds)

    def row_costs(self, cost: Callable[[Block], float]) -> tuple[float, list[NDArray[np.float64]]]:
        """Return what every network costs, and what a share of 1 of each choice adds (rows of `supergraph`).

        `cost` is that of one block (DCA-NAS, Eq. 3). A network keeps 8 of 14 edges of a cell: the expectation over
        all rows may lie above or below what is derived.
        """
        skeleton = self._skeleton
        places = _places(skeleton)
        fixed = [*_stems(skeleton), _head(places[-1].output, skeleton.classes)]
        rows = [np.zeros(len(OPERATIONS) + 1) for _ in range(2 * _EDGES)]
        for place in places:
            fixed += [*_preprocessing(place), *[_sum(place.node)] * NODES, _joint(place.node)]
            for incoming in _INCOMING:
                for source, edge in enumerate(incoming):
                    found = (_edge_block(name, _state(place, source), place.node) for name in OPERATIONS)
                    rows[place.reduces * _EDGES + edge][1:] += [0.0 if item is None else cost(item) for item in found]
        return sum(map(cost, fixed)), rows

    def derive(self, shares: Sequence[NDArray[np.float64]]) -> Architecture:
        """Return the architecture of distributions (rows of `supergraph`): at each node the two strongest edges.

        An edge is as strong as its strongest operation that is not none, times its own share where there is one.
        """
        cells = []
        for kind in range(2):
            cell = []
            for node, edges in enumerate(_INCOMING):
                found = [shares[kind * _EDGES + edge][1:] for edge in edges]
                of_edges = shares[2 * _EDGES + kind * NODES + node] if len(shares) > 2 * _EDGES else np.ones(len(edges))
                strengths = np.array([row.max() for row in found]) * of_edges
                first, second = sorted(np.argsort(-strengths, kind="stable")[:2].tolist())
                cell.append(tuple((OPERATIONS[int(found[i].argmax())], i) for i in (first, second)))
            cells.append(tuple(cell))
        return _architecture(_decisions(cells))  # type: ignore[arg-type]

    def chosen(self, architecture: Architecture) -> frozenset[Share]:
        """Return the shares of a supernet that an architecture keeps."""
        found: set[Share] = set()
        for kind, cell in enumerate(_cells(architecture.decisions)):
            for node, edges in enumerate(cell):
                for operation, source in edges:
                    found.add((kind * _EDGES + _INCOMING[node][source], OPERATIONS.index(operation) + 1))
                    found.add((2 * _EDGES + kind * NODES + node, source))
        return frozenset(found)

    def blocks(self) -> tuple[Block, ...]:
        """Return every block once: of each kind of cell its operations and what stands around them, stems, head."""
        return _blocks(self._skeleton)


@dataclass(frozen=True)
class _Skeleton:
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
def _places(skeleton: _Skeleton) -> tuple[_Place, ...]:
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


@lru_cache(maxsize=1 << 15)
def _architecture(decisions: tuple[int, ...]) -> Architecture:
    cells = (
        "+".join("|" + "|".join(f"{operation}~{source}" for operation, source in node) + "|" for node in cell)
        for cell in _cells(decisions)
    )
    return Architecture("darts", decisions, "darts:" + ";".join(cells))


@lru_cache(maxsize=1 << 15)
def _cells(decisions: tuple[int, ...]) -> tuple[Cell, Cell]:
    """Return the normal and the reduction cell."""
    left = iter(decisions)
    normal, reduction = (
        tuple(_node(pairs[next(left) if len(pairs) > 1 else 0], (next(left), next(left))) for pairs in PAIRS)
        for _ in range(2)
    )
    return normal, reduction


def _node(pair: tuple[int, ...], operations: tuple[int, int]) -> tuple[tuple[str, int], tuple[str, int]]:
    return (OPERATIONS[operations[0]], pair[0]), (OPERATIONS[operations[1]], pair[1])


def _decisions(cells: Sequence[Cell]) -> tuple[int, ...]:
    found: list[int] = []
    for cell in cells:
        for pairs, node in zip(PAIRS, cell, strict=True):
            edges = sorted(node, key=lambda edge: edge[1])
            pair = edges[0][1], edges[1][1]
            if pair not in pairs:
                known = ", ".join(map(str, range(pairs[-1][1] + 1)))
                raise UsageError(
                    f"a node of darts cannot read {pair}", f"It reads two different ones of {known}.", _FORM
                )
            found += [pairs.index(pair)] * (len(pairs) > 1) + [OPERATIONS.index(name) for name, _ in edges]
    return tuple(found)


def _cell(text: str, whole: str) -> Cell:
    nodes = text.split("+")
    if len(nodes) != NODES or any(node[:1] != "|" or node[-1:] != "|" or node.count("|") != 3 for node in nodes):
        raise UsageError(f"{whole!r} is no network of darts", "A cell has four nodes of two operations each.", _FORM)
    return tuple((_edge(first, whole), _edge(second, whole)) for first, second in (x[1:-1].split("|") for x in nodes))


def _edge(text: str, whole: str) -> tuple[str, int]:
    match = _EDGE.fullmatch(text)
    if match is None or not match["source"].isascii():
        raise UsageError(f"{whole!r}: {text!r} is not OPERATION~SOURCE", "", _FORM)
    return _known(match["operation"], whole), int(match["source"])


def _known(operation: str, whole: str) -> str:
    if operation not in OPERATIONS:
        near = difflib.get_close_matches(operation, OPERATIONS, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"{whole!r}: unknown operation {operation!r}", f"{hint}Known: {', '.join(OPERATIONS)}.")
    return operation


def _genotype_cells(text: str) -> list[Cell]:
    """Return the cells of a genotype; nothing of the text is executed."""
    try:
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        given = {item.arg: item.value for item in call.keywords}
        cells = [ast.literal_eval(given[name]) for name in ("normal", "reduce")]
        joints = {ast.unparse(given[name]) for name in ("normal_concat", "reduce_concat")}
        edges = [[(str(name), int(source)) for name, source in cell] for cell in cells]
    except (SyntaxError, ValueError, TypeError, KeyError, AssertionError, RecursionError, MemoryError) as error:
        raise UsageError(f"{text[:80]!r} is no genotype", repr(error), _FORM) from error
    if any(len(cell) != 2 * NODES for cell in edges) or not joints <= {"range(2, 6)", "[2, 3, 4, 5]"}:
        raise UsageError(
            f"{text[:80]!r} is no genotype of darts", "Cells have eight edges and join nodes 2 to 5.", _FORM
        )
    known = [[(_known(name, text), source) for name, source in cell] for cell in edges]
    return [tuple((cell[2 * node], cell[2 * node + 1]) for node in range(NODES)) for cell in known]


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
    for node, rows in enumerate(_INCOMING):
        edges = []
        for source, row in enumerate(rows):
            spec = _state(inner, source)
            front, after = (channels(item, item.shape[1] // style.partial) for item in (spec, inner.node))
            blocks = ((i, _search_block(name, front, after)) for i, name in enumerate(OPERATIONS, 1))
            edges.append(Edge(states[source], spec, kind * _EDGES + row, tuple(blocks)))
        beta = 2 * _EDGES + kind * NODES + node
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
def _blocks(skeleton: _Skeleton) -> tuple[Block, ...]:
    found: dict[str, Block] = {}
    for place in _places(skeleton):
        edges = [_edge_block(name, _state(place, source), place.node) for source in (0, 2) for name in OPERATIONS]
        of_place = [*_preprocessing(place), *filter(None, edges), _sum(place.node), _joint(place.node)]
        found |= {block.key: block for block in of_place}
    ends = (*_stems(skeleton), _head(_places(skeleton)[-1].output, skeleton.classes))
    return tuple((found | {block.key: block for block in ends}).values())


@lru_cache(maxsize=256)
def _stems(skeleton: _Skeleton) -> tuple[Block, ...]:
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
        *_relu_conv_bn("b_", "a_bn", half, quarter, 3, 2),
    )
    return (
        Block("stem0", (entry,), first),
        Block("stem1", (quarter,), _relu_conv_bn("", "in0", quarter, eighth, 3, 2)),
    )


def _preprocessing(place: _Place) -> tuple[Block, Block]:
    """Return what makes the two inputs of a cell alike in resolution and channels."""
    halves = place.before.shape[2:] != place.last.shape[2:]
    first = _factorised if halves else _pointwise
    return first(place.before, place.entry), _pointwise(place.last, place.entry)


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
def _pointwise(before: TensorSpec, after: TensorSpec) -> Block:
    return Block("relu_conv_bn", (before,), _relu_conv_bn("", "in0", before, after, 1, 1))


def _relu_conv_bn(
    prefix: str, source: str, before: TensorSpec, after: TensorSpec, kernel: int, stride: int
) -> tuple[Operator, ...]:
    relu, conv = f"{prefix}relu", f"{prefix}conv"
    return (
        Operator(relu, "relu", (source,), before, before),
        Operator(conv, "conv2d", (relu,), before, after, kernel=kernel, stride=stride, padding=kernel // 2),
        Operator(f"{prefix}bn", "batch_norm", (conv,), after, after),
    )


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
