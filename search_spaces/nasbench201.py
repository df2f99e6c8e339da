"""NAS-Bench-201 (Dong and Yang, ICLR 2020): cells of 4 nodes and 6 edges with 5 operations, 15,625 strings.

The macro skeleton is the published one: a 3x3 stem, `depth` cells, a residual block of stride 2, `depth` cells, a
residual block, `depth` cells, batch normalisation, ReLU, global average pooling and a linear layer.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from search_spaces._operators import pointwise, relu_conv_bn
from search_spaces._supergraph import Cells, Edge, Share, Supergraph, Supernet, SupernetSpace, channels

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
#: (source, target) of the six edges in the order of the string.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_LEAST_SHARE = 1e-300
_EDGE = re.compile(r"(?P<operation>[^~]*)~(?P<source>[0-9]+)")


class NasBench201(SupernetSpace):
    """The cell space of NAS-Bench-201."""

    name = "nasbench201"
    small: ClassVar[Mapping[str, Any]] = {"depth": 1, "resolution": 16}

    def __init__(
        self, *, width: int = 16, depth: int = 5, resolution: int = 32, classes: int = 10, batch: int = 1
    ) -> None:
        """Set the skeleton: channels of the first stage, cells a stage, input side (a multiple of 4), classes."""
        if min(width, depth, resolution, classes, batch) < 1 or resolution % 4:
            raise UsageError("nasbench201 needs positive options and a resolution that is a multiple of 4")
        self._width = width
        self._depth = depth
        self._resolution = resolution
        self._classes = classes
        self._batch = batch

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the constructor's keywords."""
        return {
            "width": self._width,
            "depth": self._depth,
            "resolution": self._resolution,
            "classes": self._classes,
            "batch": self._batch,
        }

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Return five choices for each of six edges."""
        return (len(OPERATIONS),) * len(EDGES)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return (batch, 3, resolution, resolution)."""
        return (self._batch, 3, self._resolution, self._resolution)

    def architecture(self, decisions: tuple[int, ...]) -> Architecture:
        """Return the cell whose edges have these operations (indices into OPERATIONS)."""
        if len(decisions) != len(EDGES) or any(item not in range(len(OPERATIONS)) for item in decisions):
            raise UsageError(f"{decisions!r} are no decisions of nasbench201", "Six indices from 0 to 4 are expected.")
        return _architecture(tuple(map(int, decisions)))

    def parse(self, text: str) -> Architecture:
        """Return the cell of a text such as `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|`."""
        nodes = text.strip().removeprefix("nasbench201:").split("+")
        if len(nodes) != 3 or any(not node.startswith("|") or not node.endswith("|") for node in nodes):
            raise UsageError(f"{text!r} is no cell of nasbench201", "Three nodes joined by '+' are expected.", _FORM)
        decisions: list[int] = []
        for target, node in enumerate(nodes, start=1):
            edges = node[1:-1].split("|")
            if len(edges) != target:
                raise UsageError(f"{text!r}: node {target} needs {target} edges and has {len(edges)}", "", _FORM)
            decisions += [_operation(edge, source, target, text) for source, edge in enumerate(edges)]
        return _architecture(tuple(decisions))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return a uniformly drawn connected cell."""
        while True:
            candidate = _architecture(tuple(rng.integers(len(OPERATIONS), size=len(EDGES)).tolist()))
            if _connected(candidate.decisions):
                return candidate

    def connected(self, architecture: Architecture) -> bool:
        """Return whether a path leads through the cell, without building the network."""
        return _connected(architecture.decisions)

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a connected cell with another operation on one edge."""
        while True:
            decisions = list(architecture.decisions)
            edge = int(rng.integers(len(EDGES)))
            decisions[edge] = (decisions[edge] + int(rng.integers(1, len(OPERATIONS)))) % len(OPERATIONS)
            if _connected(tuple(decisions)):
                return _architecture(tuple(decisions))

    def enumerate(self) -> Iterator[Architecture]:
        """Yield all 15,625 cells in the order of their decisions."""
        return map(_architecture, itertools.product(range(len(OPERATIONS)), repeat=len(EDGES)))

    def canonical(self, architecture: Architecture) -> str:
        """Return the expression the cell computes: 6,466 distinct ones."""
        return _canonical(architecture.decisions)

    def encode(self, architecture: Architecture) -> NDArray[np.float64]:
        """Return one-hot operations, shape (30,)."""
        return np.eye(len(OPERATIONS))[list(architecture.decisions)].ravel()

    def graph(self, architecture: Architecture) -> Graph:
        """Return the whole network."""
        specs = self._stages()
        entry = TensorSpec(self.input_shape)
        calls = [Call("stem", _stem(entry, specs[0]), ("input",))]
        last = "stem"
        for stage, spec in enumerate(specs):
            if stage:
                name = f"reduction{stage}"
                calls.append(Call(name, _reduction(specs[stage - 1], spec), (last,)))
                last = name
            for cell in range(self._depth):
                last = _add_cell(calls, f"s{stage}c{cell}", architecture.decisions, spec, last)
        calls.append(Call("head", _head(specs[-1], self._classes), (last,)))
        return Graph(entry, tuple(calls))

    def supergraph(self, style: Supernet) -> Supergraph:
        """Return the supernet: a row of OPERATIONS an edge; with partial channels three of the edges into each node."""
        specs, entry = self._stages(), TensorSpec(self.input_shape)
        if self._width % (style.bottleneck * style.partial):
            raise UsageError(f"a width of {self._width} cannot be divided by {style.bottleneck * style.partial}")
        cells = Cells(style)
        last = cells.call("stem", _stem(entry, specs[0]), "input")
        for stage, spec in enumerate(specs):
            if stage:
                last = cells.call(f"reduction{stage}", _reduction(specs[stage - 1], spec), last)
            for number in range(stage * self._depth, (stage + 1) * self._depth):
                last = _add_super_cell(cells, number, spec, last)
        cells.call("head", _head(specs[-1], self._classes), last)
        rows = (len(OPERATIONS),) * len(EDGES) + ((1, 2, 3) if style.partial > 1 else ())
        return Supergraph(entry, tuple(cells.steps), rows, ("cell",) * (3 * self._depth))

    def row_costs(self, cost: Callable[[Block], float]) -> tuple[float, list[NDArray[np.float64]]]:
        """Return what every network costs, and what a share of 1 of each choice adds (rows of `supergraph`).

        `cost` is that of one block. Sums are left out: how many terms they have depends on several choices.
        """
        specs = self._stages()
        fixed = [_stem(TensorSpec(self.input_shape), specs[0]), _head(specs[2], self._classes)]
        fixed += [_reduction(before, after) for before, after in itertools.pairwise(specs)]
        row = [0.0, 0.0, *(self._depth * sum(cost(_edge(name, spec)) for spec in specs) for name in OPERATIONS[2:])]
        return sum(map(cost, fixed)), [np.array(row) for _ in EDGES]

    def derive(self, shares: Sequence[NDArray[np.float64]]) -> Architecture:
        """Return the connected architecture of the largest product of shares (rows of `supergraph`).

        Mostly the strongest operation of each edge. A cell that ignores its input would end every search: nothing
        could be learned any more, neither behind derived cells nor of what was derived.
        """
        rows = shares[: len(EDGES)]
        strongest = tuple(int(row.argmax()) for row in rows)
        if _connected(strongest):
            return _architecture(strongest)
        strengths = reduce(np.add.outer, [np.log(np.maximum(row, _LEAST_SHARE)) for row in rows])
        order = np.argsort(-strengths, axis=None, kind="stable")
        cells = (tuple(map(int, np.unravel_index(place, strengths.shape))) for place in order)
        return _architecture(next(cell for cell in cells if _connected(cell)))

    def chosen(self, architecture: Architecture) -> frozenset[Share]:
        """Return the shares of a supernet that an architecture keeps."""
        of_edges = {(len(EDGES) + target - 1, source) for source, target in EDGES}
        return frozenset(enumerate(architecture.decisions)) | of_edges

    def skips(self, architecture: Architecture) -> int:
        """Return how many of the six operations are skips."""
        return architecture.decisions.count(OPERATIONS.index("skip_connect"))

    def blocks(self) -> tuple[Block, ...]:
        """Return the 19 blocks: per stage two convolutions, a pooling and two sums; stem, two reductions, head."""
        specs = self._stages()
        found = [_stem(TensorSpec(self.input_shape), specs[0])]
        for spec in specs:
            found += [_edge(name, spec) for name in OPERATIONS[2:]] + [_sum(2, spec), _sum(3, spec)]
        found += [_reduction(specs[0], specs[1]), _reduction(specs[1], specs[2]), _head(specs[2], self._classes)]
        return tuple(found)

    def _stages(self) -> list[TensorSpec]:
        sides = (self._resolution, self._resolution // 2, self._resolution // 4)
        return [_spec(self._batch, self._width << stage, side) for stage, side in enumerate(sides)]


_FORM = "Write for instance |nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


def _operation(edge: str, source: int, target: int, text: str) -> int:
    match = _EDGE.fullmatch(edge)
    if match is None or int(match["source"]) != source:
        raise UsageError(f"{text!r}: edge {source} of node {target} is {edge!r}, not OPERATION~{source}", "", _FORM)
    if match["operation"] not in OPERATIONS:
        near = difflib.get_close_matches(match["operation"], OPERATIONS, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"{text!r}: edge {source} of node {target} has the unknown operation {match['operation']!r}",
            f"{hint}Known: {', '.join(OPERATIONS)}.",
        )
    return OPERATIONS.index(match["operation"])


@lru_cache(maxsize=1 << 15)
def _architecture(decisions: tuple[int, ...]) -> Architecture:
    edges = [f"{OPERATIONS[item]}~{source}" for item, (source, _) in zip(decisions, EDGES, strict=True)]
    nodes = ("|".join(edges[0:1]), "|".join(edges[1:3]), "|".join(edges[3:6]))
    return Architecture("nasbench201", decisions, "nasbench201:" + "+".join(f"|{node}|" for node in nodes))


@lru_cache(maxsize=1 << 15)
def _canonical(decisions: tuple[int, ...]) -> str:
    """Return the expression of the output node, as the benchmark's authors define it (6,466 distinct ones).

    Zeros pass through every operation, skips are the identity, the terms of a sum know no order, and what does not
    reach the output never appears. As published, a sum keeps its zero terms and two sums are merged only where the
    sorted texts meet (4,930 forms would be left otherwise), so the names of the operations are part of the definition:
    they decide the order.
    """
    nodes = ["0"]
    for target in (1, 2, 3):
        terms = []
        for item, (source, end) in zip(decisions, EDGES, strict=True):
            if end != target:
                continue
            if item == 0 or nodes[source] == "#":
                terms.append("#")
            else:
                terms.append(nodes[source] if item == 1 else f"({nodes[source]})@{OPERATIONS[item]}")
        nodes.append("+".join(sorted(terms)))
    return nodes[3]


@lru_cache(maxsize=1 << 15)
def _connected(decisions: tuple[int, ...]) -> bool:
    """Return whether the cell's output depends on its input."""
    reached = {0}
    for item, (source, end) in zip(decisions, EDGES, strict=True):
        if item and source in reached:
            reached.add(end)
    return 3 in reached


def _add_cell(calls: list[Call], prefix: str, decisions: tuple[int, ...], spec: TensorSpec, source: str) -> str:
    """Append one cell's calls and return the name of its output; `none` is not called, a skip passes the name on."""
    nodes = [source]
    edge = 0
    for target in (1, 2, 3):
        terms = []
        for start in range(target):
            operation = decisions[edge]
            edge += 1
            if operation == 1:
                terms.append(nodes[start])
            elif operation > 1:
                name = f"{prefix}e{start}{target}"
                calls.append(Call(name, _edge(OPERATIONS[operation], spec), (nodes[start],)))
                terms.append(name)
        if len(terms) == 1:
            nodes.append(terms[0])
            continue
        name = f"{prefix}n{target}"
        calls.append(Call(name, _sum(len(terms), spec) if terms else _zeros(spec), tuple(terms)))
        nodes.append(name)
    return nodes[3]


def _add_super_cell(cells: Cells, number: int, spec: TensorSpec, source: str) -> str:
    """Append one cell of a supernet and return the name of its output."""
    style, prefix = cells.style, f"c{number}"
    inner = channels(spec, spec.shape[1] // style.bottleneck)
    front = channels(inner, inner.shape[1] // style.partial)
    blocks = ((1, None), *((i, _edge(OPERATIONS[i], front)) for i in range(2, len(OPERATIONS))))
    nodes = [source if style.bottleneck == 1 else cells.call(f"{prefix}in", pointwise(spec, inner), source)]
    for target in (1, 2, 3):
        rows = [(row, start) for row, (start, end) in enumerate(EDGES) if end == target]
        edges = [Edge(nodes[start], inner, row, blocks) for row, start in rows]
        nodes.append(cells.node(f"{prefix}n{target}", number, inner, edges, len(EDGES) + target - 1))
    return nodes[3] if style.bottleneck == 1 else cells.call(f"{prefix}out", pointwise(inner, spec), nodes[3])


@lru_cache(maxsize=256)
def _spec(batch: int, channels: int, side: int) -> TensorSpec:
    return TensorSpec((batch, channels, side, side))


@lru_cache(maxsize=256)
def _edge(operation: str, spec: TensorSpec) -> Block:
    if operation == "avg_pool_3x3":
        return Block(operation, (spec,), (_pool("pool", "in0", spec, spec, 3, 1, 1),))
    kernel = 1 if operation == "nor_conv_1x1" else 3
    return Block(operation, (spec,), relu_conv_bn("", "in0", spec, spec, kernel))


@lru_cache(maxsize=256)
def _sum(n: int, spec: TensorSpec) -> Block:
    adds = []
    left = "in0"
    for i in range(1, n):
        adds.append(Operator(f"add{i}", "add", (left, f"in{i}"), spec, spec))
        left = f"add{i}"
    return Block(f"sum{n}", (spec,) * n, tuple(adds))


@lru_cache(maxsize=256)
def _zeros(spec: TensorSpec) -> Block:
    return Block("zeros", (), (Operator("zeros", "zeros", (), spec, spec),))


@lru_cache(maxsize=256)
def _stem(entry: TensorSpec, spec: TensorSpec) -> Block:
    conv = Operator("conv", "conv2d", ("in0",), entry, spec, kernel=3, padding=1)
    return Block("stem", (entry,), (conv, Operator("bn", "batch_norm", ("conv",), spec, spec)))


@lru_cache(maxsize=256)
def _reduction(before: TensorSpec, after: TensorSpec) -> Block:
    pooled = TensorSpec((*before.shape[:2], *after.shape[2:]))
    operators = (
        *relu_conv_bn("a_", "in0", before, after, 3, stride=2),
        *relu_conv_bn("b_", "a_bn", after, after, 3),
        _pool("pool", "in0", before, pooled, 2, 2, 0),
        Operator("project", "conv2d", ("pool",), pooled, after),
        Operator("add", "add", ("b_bn", "project"), after, after),
    )
    return Block("reduction", (before,), operators)


@lru_cache(maxsize=256)
def _head(spec: TensorSpec, classes: int) -> Block:
    batch, channels = spec.shape[:2]
    pooled, out = TensorSpec((batch, channels)), TensorSpec((batch, classes))
    operators = (
        Operator("bn", "batch_norm", ("in0",), spec, spec),
        Operator("relu", "relu", ("bn",), spec, spec),
        Operator("pool", "global_avg_pool", ("relu",), spec, pooled),
        Operator("classifier", "linear", ("pool",), pooled, out, bias=True),
    )
    return Block("head", (spec,), operators)


def _pool(
    name: str, source: str, before: TensorSpec, after: TensorSpec, kernel: int, stride: int, padding: int
) -> Operator:
    return Operator(name, "avg_pool2d", (source,), before, after, kernel=kernel, stride=stride, padding=padding)
