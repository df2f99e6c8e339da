"""Which graph a runtime runs: the same network costed in four ways, for cross-validation to choose from.

as_trained  every block that was trained, those included that reach no output or depend on no input
live        dead blocks and constants removed
shared      live, and what has no weights computed once for each input
fused       shared, and one sum taken over by each convolution whose only reader it is
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from search_spaces._graph import Block, Call, Graph

#: From the likeliest on; the first of equals is taken.
GRAPHS = ("live", "shared", "fused", "as_trained")


Costed = dict[Block, float]


def costed_blocks(graph: Graph) -> dict[str, Costed]:
    """Return for each of GRAPHS how often each block is paid for; a sum that is fused in part counts in part.

    Constants are no blocks.
    """
    live = graph.live()
    shared = shared_calls(live)
    paid = Counter(call.block for call in shared)
    saved: Counter[Block] = Counter()
    for call in _fused_sums(shared, graph.output):
        saved[call.block] += 1
    return {
        "live": _counted(live.block_counts),
        "shared": _counted(paid),
        "fused": {block: n - saved[block] / max(_adds(block), 1) for block, n in paid.items()},
        "as_trained": {block: float(n) for block, n in graph.block_counts.items() if block.inputs},
    }


def shared_calls(live: Graph) -> list[Call]:
    """Return the calls of a live graph without those that give what an earlier one gives."""
    names = {"input": "input"}
    known: dict[tuple[object, ...], str] = {}
    found = []
    for call in live.calls:
        inputs = tuple(names[name] for name in call.inputs)
        key = (call.block, *(sorted(inputs) if _adds(call.block) else inputs))
        names[call.name] = known.setdefault(key, call.name) if _weightless(call.block) else call.name
        if names[call.name] == call.name:
            found.append(call._replace(inputs=inputs))
    return found


def _counted(counts: Counter[Block]) -> Costed:
    return {block: float(n) for block, n in counts.items()}


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
