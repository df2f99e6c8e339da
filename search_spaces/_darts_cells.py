"""The cells of DARTS as decisions, as text, and as genotypes."""

from __future__ import annotations

import ast
import difflib
import itertools
import operator
import re
from collections.abc import Sequence
from functools import lru_cache

from hilnas.errors import UsageError
from hilnas.records import Architecture

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
INCOMING = tuple(tuple(range(start, start + n)) for start, n in ((0, 2), (2, 3), (5, 4), (9, 5)))
EDGES = 14
#: Of one cell: the choice of the pair, where there is more than one, and of the two operations, node by node.
CELL_CHOICES = tuple(n for pairs in PAIRS for n in (len(pairs), len(OPERATIONS), len(OPERATIONS)) if n > 1)
_EDGE = re.compile(r"(?P<operation>[^~]*)~(?P<source>[0-9])")
_FORM = (
    "Write a normal and a reduction cell of four nodes, NODE+NODE+NODE+NODE;NODE+NODE+NODE+NODE, where a NODE is for "
    "instance |sep_conv_3x3~0|skip_connect~1|; or Genotype(normal=[...], normal_concat=..., reduce=[...], ...)."
)

#: The two edges of every node: (operation, source).
Cell = tuple[tuple[tuple[str, int], tuple[str, int]], ...]


@lru_cache(maxsize=1 << 15)
def architecture_of(decisions: tuple[int, ...]) -> Architecture:
    """Return the architecture of decisions that lie in the space."""
    cells = (
        "+".join("|" + "|".join(f"{operation}~{source}" for operation, source in node) + "|" for node in cell)
        for cell in cells_of(decisions)
    )
    return Architecture("darts", decisions, "darts:" + ";".join(cells))


@lru_cache(maxsize=1 << 15)
def cells_of(decisions: tuple[int, ...]) -> tuple[Cell, Cell]:
    """Return the normal and the reduction cell."""
    left = iter(decisions)
    normal, reduction = (
        tuple(_node(pairs[next(left) if len(pairs) > 1 else 0], (next(left), next(left))) for pairs in PAIRS)
        for _ in range(2)
    )
    return normal, reduction


def _node(pair: tuple[int, ...], operations: tuple[int, int]) -> tuple[tuple[str, int], tuple[str, int]]:
    return (OPERATIONS[operations[0]], pair[0]), (OPERATIONS[operations[1]], pair[1])


def decisions_of(cells: Sequence[Cell]) -> tuple[int, ...]:
    """Return the decisions of a normal and a reduction cell; raise UsageError for sources that a node cannot read."""
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


def read_cells(text: str) -> list[Cell]:
    """Return the cells of a text, or of a genotype as the authors' code prints it; raise UsageError for another one."""
    if text.startswith("Genotype("):
        return _genotype_cells(text)
    cells = text.split(";")
    if len(cells) != 2:
        raise UsageError(f"{text!r} is no network of darts", "Two cells joined by ';' are expected.", _FORM)
    return [_read_cell(cell, text) for cell in cells]


def genotype_of(decisions: tuple[int, ...]) -> str:
    """Return the cells as the authors' code names them."""
    normal, reduction = ([edge for node in cell for edge in node] for cell in cells_of(decisions))
    return f"Genotype(normal={normal}, normal_concat=range(2, 6), reduce={reduction}, reduce_concat=range(2, 6))"


def _read_cell(text: str, whole: str) -> Cell:
    nodes = text.split("+")
    if len(nodes) != NODES or any(node[:1] != "|" or node[-1:] != "|" or node.count("|") != 3 for node in nodes):
        raise UsageError(f"{whole!r} is no network of darts", "A cell has four nodes of two operations each.", _FORM)
    return tuple((_edge(first, whole), _edge(second, whole)) for first, second in (x[1:-1].split("|") for x in nodes))


def _edge(text: str, whole: str) -> tuple[str, int]:
    match = _EDGE.fullmatch(text)
    if match is None:
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
        given = {item.arg: item.value for item in call.keywords} if isinstance(call, ast.Call) else {}
        cells = [ast.literal_eval(given[name]) for name in ("normal", "reduce")]
        joints = {ast.unparse(given[name]) for name in ("normal_concat", "reduce_concat")}
        edges = [[(str(name), operator.index(source)) for name, source in cell] for cell in cells]
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise UsageError(f"{text[:80]!r} is no genotype", repr(error), _FORM) from error
    if any(len(cell) != 2 * NODES for cell in edges) or not joints <= {"range(2, 6)", "[2, 3, 4, 5]"}:
        raise UsageError(
            f"{text[:80]!r} is no genotype of darts", "Cells have eight edges and join nodes 2 to 5.", _FORM
        )
    known = [[(_known(name, text), source) for name, source in cell] for cell in edges]
    return [tuple((cell[2 * node], cell[2 * node + 1]) for node in range(NODES)) for cell in known]
