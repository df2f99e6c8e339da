"""Pairs of blocks that a runtime computes in less (or more) time together than apart, found by measuring them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

from scipy.stats import t as student

from hilnas.records import Workload, canonical_json
from predictors._entries import BlockEntry
from predictors._graph_choice import shared_calls
from profiler._plan import BLOCK_REPEAT
from search_spaces._base import SearchSpace
from search_spaces._blocks import pair_block, pair_key
from search_spaces._graph import Block, Graph

#: All pairs together are called different from their sum by chance with this probability at most.
_CHANCE = 0.05
#: A difference below this share of the smaller block does not matter, however well it is known.
_MATTERS = 0.05
_ONE_SIGMA = NormalDist()
#: Stands for times and errors that are none.
_LEAST_S = 1e-12

Kind = Literal["fused", "dearer", "additive", "unclear"]
Uses = Mapping[tuple[Block, Block], float]


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """What two blocks save by standing next to each other, in seconds (negative: they take longer), with its interval.

    `uses`: how often the second reads the first in a network, on average; `uses_reversed` the other way round, which
    a chain of both cannot tell apart. `share`: what is saved in a network, over its latency, if all uses of the
    commoner order save it. fused: they save; dearer: they take longer; additive: the interval contains 0 or what
    it holds does not matter; unclear: the spread is not known.
    """

    first: str
    second: str
    uses: float
    uses_reversed: float
    apart_s: float
    saving_s: float
    lower_s: float
    upper_s: float
    share: float
    verdict: Kind

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return asdict(self)


def adjacent_blocks(graphs: Iterable[Graph]) -> dict[tuple[Block, Block], float]:
    """Return (first, second) -> how many calls of the second read the first, on average over the graphs.

    Only where the second reads as its first input what the first gives can they be measured alone.
    """
    found: Counter[tuple[Block, Block]] = Counter()
    n = 0
    for graph in graphs:
        n += 1
        calls = shared_calls(graph.live())
        writers = {call.name: call.block for call in calls}
        for call in calls:
            read = {writers[name] for name in call.inputs if name in writers}
            found.update((block, call.block) for block in read if block.output == call.block.inputs[0])
    return {pair: count / n for pair, count in found.items()}


def pairs_to_measure(uses: Uses, entries: Mapping[str, BlockEntry], most: int) -> list[tuple[Block, Block]]:
    """Return at most so many pairs, those first that could save most: uses x the time of the smaller block.

    Two blocks that can be chained are one pair, whichever reads the other.
    """
    worth: defaultdict[tuple[Block, Block], float] = defaultdict(float)
    for (first, second), n in uses.items():
        if first is not second:
            smaller_s = min(entries[first.key].latency_s, entries[second.key].latency_s)
            worth[_in_order(first, second)] += n * smaller_s
    ranked = sorted(worth, key=lambda pair: (-worth[pair], pair_key(*pair)))
    return ranked[:most]


def keys_to_measure(pairs: Sequence[tuple[Block, Block]]) -> list[str]:
    """Return the keys of the pairs and, of blocks that can be chained, of each with itself: what they compare with."""
    selves = {block.key: block for pair in pairs for block in pair if _chains(block)}
    return [*(pair_key(block, block) for block in selves.values()), *(pair_key(*pair) for pair in pairs)]


def pair_workloads(space: SearchSpace, keys: Sequence[str]) -> list[Workload]:
    """Return the workloads of pairs of blocks by key, as chains where their shapes allow it."""
    blocks = {block.key: block for block in space.blocks()}
    options = canonical_json({"repeat": BLOCK_REPEAT, "space": dict(space.options)})
    found = []
    for key in keys:
        first = blocks[key.partition(">")[0]]
        found.append(Workload(f"block:{space.name}:{key}", "block", first.inputs[0].shape, options=options))
    return found


def call_entry(blocks: Iterable[Block], measured: Mapping[str, BlockEntry]) -> BlockEntry | None:
    """Return what a call costs beside its blocks: twice a chain less the double chain; None where nothing tells.

    `measured`: entries by key, of blocks and of blocks with themselves. Their answers are averaged by their variances.
    """
    found = []
    for block in blocks:
        single, double = measured.get(block.key), measured.get(pair_key(block, block))
        if _chains(block) and single is not None and double is not None:
            error_s = BLOCK_REPEAT * math.hypot(2 * single.standard_error_s, double.standard_error_s)
            found.append((BLOCK_REPEAT * (2 * single.latency_s - double.latency_s), error_s, min(single.n, double.n)))
    if not found:
        return None
    weights = [1 / max(error_s, _LEAST_S) ** 2 for _, error_s, _ in found]
    mean_s = sum(weight * value for weight, (value, _, _) in zip(weights, found, strict=True)) / sum(weights)
    half_s = _ONE_SIGMA.inv_cdf(0.975) / math.sqrt(sum(weights))
    return BlockEntry(max(mean_s, _LEAST_S), half_s, 0.95, sum(n for _, _, n in found))


def judge_pairs(
    pairs: Sequence[tuple[Block, Block]], uses: Uses, measured: Mapping[str, BlockEntry], latency_s: float
) -> list[PairVerdict]:
    """Return the verdicts on the pairs that were measured, what saves most of a network of `latency_s` first.

    Two chains of the blocks with themselves are what a chain of the pair is compared with: equally long, so that the
    cost of a call and of a network's ends is in both. Where shapes forbid chains, the single entries are, less the
    cost of the calls they have too many. Intervals hold for all pairs together (Bonferroni), with Student's
    distribution and the degrees of freedom of Welch (1947).
    """
    known = [pair for pair in pairs if pair_key(*pair) in measured]
    call = call_entry({block for pair in known for block in pair}, measured)
    found = [_verdict(pair, uses, measured, call, latency_s, _CHANCE / len(known)) for pair in known]
    return sorted(found, key=lambda item: (item.verdict == "additive", -abs(item.share)))


def _verdict(
    pair: tuple[Block, Block],
    uses: Uses,
    measured: Mapping[str, BlockEntry],
    call: BlockEntry | None,
    latency_s: float,
    chance: float,
) -> PairVerdict:
    first, second = pair
    parts = _parts(pair, measured, call)
    apart_s = sum(weight * entry.latency_s for weight, entry in parts)
    together = measured[pair_key(*pair)]
    saving_s = apart_s - together.latency_s
    half_s = _half_width_s([*parts, (1.0, together)], chance)
    smaller_s = min(measured[block.key].latency_s for block in pair)
    there, back = uses.get((first, second), 0.0), uses.get((second, first), 0.0) if _chains(first) else 0.0
    verdict: Kind = "additive"
    if half_s is None:
        verdict = "unclear"
    elif abs(saving_s) > max(half_s, _MATTERS * smaller_s):
        verdict = "fused" if saving_s > 0 else "dearer"
    half_s = half_s or 0.0
    share = saving_s * max(there, back) / latency_s
    bounds = (saving_s - half_s, saving_s + half_s)
    return PairVerdict(first.key, second.key, there, back, apart_s, saving_s, *bounds, share, verdict)


def _parts(
    pair: tuple[Block, Block], measured: Mapping[str, BlockEntry], call: BlockEntry | None
) -> list[tuple[float, BlockEntry]]:
    """Return what a pair is compared with, as weights and entries."""
    if _chains(pair_block(*pair)) and all(pair_key(block, block) in measured for block in pair):
        return [(0.5, measured[pair_key(block, block)]) for block in pair]
    too_many = sum(1 / _copies(block) for block in pair) - 1 / _copies(pair_block(*pair))
    # Where the cost of a call is not known, its spread is not either: the verdict will be unclear.
    return [*((1.0, measured[block.key]) for block in pair), (-too_many, call or BlockEntry(_LEAST_S))]


def _half_width_s(parts: Sequence[tuple[float, BlockEntry]], chance: float) -> float | None:
    """Return half the two-sided interval of a weighted sum, None where the spread of a part is not known."""
    variances = [(weight * entry.standard_error_s) ** 2 for weight, entry in parts]
    if any(entry.n < 2 for _, entry in parts):
        return None
    total = sum(variances)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(v**2 / (entry.n - 1) for v, (_, entry) in zip(variances, parts, strict=True))
    return float(student.ppf(1 - chance / 2, freedom)) * math.sqrt(total)


def _chains(block: Block) -> bool:
    """Return whether copies of a block can follow each other."""
    return all(spec == block.output for spec in block.inputs)


def _copies(block: Block) -> int:
    return BLOCK_REPEAT if _chains(block) else 1


def _in_order(first: Block, second: Block) -> tuple[Block, Block]:
    """Return the pair, in the order of the keys where it is the same chain either way."""
    if _chains(first) and _chains(second) and second.key < first.key:
        return second, first
    return first, second
