"""Which graph a runtime runs: the same network costed in four ways, for cross-validation to choose from.

as_trained  every block that was trained, those included that reach no output or depend on no input
live        dead blocks and constants removed
shared      live, and what has no weights computed once for each input
fused       shared, and one sum taken over by each convolution whose only reader it is
"""

from __future__ import annotations

from collections import Counter, defaultdict

from search_spaces._graph import Block, Call, Graph

#: From the likeliest on; the first of equals is taken.
GRAPHS = ("live", "shared", "fused", "as_trained")


def costed_blocks(graph: Graph, name: str) -> dict[Block, float]:
    """Return how often each block is paid for in the graph of this name; a sum that is fused in part counts in part.

    Constants are no blocks. Raises ValueError for a name that is none of GRAPHS.
    """
    if name not in GRAPHS:
        raise ValueError(f"graph must be one of {', '.join(GRAPHS)}, not {name!r}")
    if name == "as_trained":
        return {block: float(n) for block, n in graph.block_counts.items() if block.inputs}
    calls = costed_calls(graph, shared=name != "live")
    saved = _saved(calls, graph.output) if name == "fused" else {}
    found: dict[Block, float] = defaultdict(float)
    for call in calls:
        found[call.block] += 1.0 - saved.get(call.name, 0.0)
    return dict(found)


def costed_calls(graph: Graph, shared: bool = True) -> list[Call]:
    """Return the calls of the live graph, those that give what an earlier one gives left out where `shared`."""
    live = graph.live().calls
    if not shared:
        return list(live)
    names = {"input": "input"}
    known: dict[tuple[object, ...], str] = {}
    found = []
    for call in live:
        inputs = tuple(names[name] for name in call.inputs)
        key = (call.block, *(sorted(inputs) if _adds(call.block) else inputs))
        names[call.name] = known.setdefault(key, call.name) if _weightless(call.block) else call.name
        if names[call.name] == call.name:
            found.append(call._replace(inputs=inputs))
    return found


def _saved(calls: list[Call], output: str) -> dict[str, float]:
    """Return the share of each sum that convolutions take over: one addition, by a convolution nothing else reads."""
    readers = Counter(name for call in calls for name in call.inputs)
    readers[output] += 1
    fusing = {call.name for call in calls if _ends_in_convolution(call.block)}
    return {
        call.name: 1.0 / _adds(call.block)
        for call in calls
        if _adds(call.block) and any(name in fusing and readers[name] == 1 for name in call.inputs)
    }


def _adds(block: Block) -> int:
    """Return how many additions a block is that is nothing but a sum, 0 for any other."""
    return len(block.operators) if all(item.kind == "add" for item in block.operators) else 0


def _weightless(block: Block) -> bool:
    return not any(item.params for item in block.operators)


def _ends_in_convolution(block: Block) -> bool:
    last = block.operators[-1]
    return last.kind == "conv2d" or last.name in block.folded.values()
