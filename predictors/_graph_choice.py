"""Which graph a runtime runs: the same network costed in five ways, for cross-validation to choose from.

What is left of the graph is one of `_graph_features.MODES`; where constants are folded, more may be merged:

as_trained    every block that was trained, those included that reach no output or depend on no input
without_dead  without blocks that reach no output; what depends on no input runs
live          without either
shared        live, and what has no weights computed once for each input
fused         shared, and one sum taken over by each convolution whose only reader it is
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from predictors._graph_features import MODES, graphs_of
from search_spaces._graph import Block, Call, Graph

_FOLDED, *_OTHERS = reversed(MODES)
#: From the likeliest on; the first of equals is taken.
GRAPHS = (_FOLDED, "shared", "fused", *_OTHERS)


Costed = dict[Block, float]


def costed_blocks(graph: Graph) -> dict[str, Costed]:
    """Return for each of GRAPHS how often each block is paid for; a sum that is fused in part counts in part.

    Constants are no blocks.
    """
    left = dict(zip(MODES, graphs_of(graph), strict=True))
    shared = shared_calls(left[_FOLDED])
    paid = Counter(call.block for call in shared)
    saved: Counter[Block] = Counter()
    for call in _fused_sums(shared, graph.output):
        saved[call.block] += 1
    return {
        **{name: _counted(item.block_counts) for name, item in left.items()},
        "shared": _counted(paid),
        "fused": {block: n - saved[block] / max(_adds(block), 1) for block, n in paid.items()},
    }


def shared_calls(live: Graph) -> list[Call]:
    """Return the calls of a live graph without those that give what an earlier one gives."""
    names = {"input": "input"}
    known: dict[tuple[object, ...], str] = {}
    found = []
    for call in live.calls:
        inputs = tuple(names[name] for name in call.inputs)
        names[call.name] = call.name
        if _weightless(call.block):
            key = (call.block, *(sorted(inputs) if _adds(call.block) else inputs))
            names[call.name] = known.setdefault(key, call.name)
        if names[call.name] == call.name:
            found.append(call._replace(inputs=inputs))
    return found


def _counted(counts: Counter[Block]) -> Costed:
    return {block: float(n) for block, n in counts.items() if block.inputs}


def _fused_sums(calls: list[Call], output: str) -> list[Call]:
    """Return the sums of which convolutions take over an addition: those that read one nothing else reads."""
    readers = Counter(name for call in calls for name in call.inputs)
    readers[output] += 1
    fusing = {call.name for call in calls if _ends_in_convolution(call.block)}
    return [
        call
        for call in calls
        if _adds(call.block) and any(name in fusing and readers[name] == 1 for name in call.inputs)
    ]


@lru_cache(maxsize=4096)
def _adds(block: Block) -> int:
    """Return how many additions a block is that is nothing but a sum, 0 for any other."""
    return len(block.operators) if all(item.kind == "add" for item in block.operators) else 0


@lru_cache(maxsize=4096)
def _weightless(block: Block) -> bool:
    return not any(item.params for item in block.operators)


@lru_cache(maxsize=4096)
def _ends_in_convolution(block: Block) -> bool:
    last = block.operators[-1]
    return last.kind == "conv2d" or last.name in block.folded.values()
