"""Timing calls that follow each other at once: warm-up until steady, then blocks until the median is known."""

import math
import time
from typing import Any, Callable, Dict, List, Tuple

from . import _pace, _stopping
from ._pace import now_ns

#: A call must last this many times the cost of reading the clock, or calls are timed in groups.
_CALL_OVER_CLOCK = 200


def back_to_back(run: Callable[[], Any], protocol: Dict[str, Any]) -> Dict[str, Any]:
    """Return the samples of calls that follow each other at once, and how they were taken.

    With `pace_wait_s` blocks count only where the processor ran at its full pace (`pace_ns`: the shortest loop known),
    and so many seconds may go into others before the invocation ends as `slowed`.
    """
    began = time.perf_counter()
    cpu_began = time.process_time()
    warm, converged = warm_up(run, protocol)
    warmup_s = time.perf_counter() - began
    kept = _pace.FullPace(protocol.get("pace_ns", 0)) if protocol.get("pace_wait_s") else _pace.Every()
    blocks, inner, stop = _timed_blocks(run, _stopping.median(warm[-10:]), protocol, kept)
    busy_s = time.perf_counter() - began
    return {
        "samples_ns": [ns for block in blocks for ns in block],
        "calls_per_sample": inner,
        "blocks": [len(block) for block in blocks],
        "half_width": _stopping.half_width(kept.medians),
        "warmup_s": warmup_s,
        "warmup_calls": len(warm),
        "warmup_converged": converged,
        "busy_s": busy_s,
        "cpu_s": time.process_time() - cpu_began,
        "stop": stop,
        "clock_ns": clock_cost_ns(),
        "pace_ns": kept.best_ns,
        "slowed_blocks": kept.dropped,
    }


def warm_up(run: Callable[[], Any], protocol: Dict[str, Any]) -> Tuple[List[int], bool]:
    """Call until two windows agree; a cap turns into a flag, never into a failure."""
    now = now_ns
    times: List[int] = []
    start = now()
    earliest = start + int(protocol["min_warmup_s"] * 1e9)
    latest = start + int(protocol["max_warmup_s"] * 1e9)
    check_at = 0
    while True:
        before = now()
        run()
        after = now()
        times.append(after - before)
        if after >= latest:
            return times, False
        if after < earliest or len(times) < check_at or len(times) < 6:
            continue
        typical = _stopping.median(times[-10:])
        window = int(min(max(3, protocol["min_warmup_s"] / 2 / (typical / 1e9)), 500))
        if _stopping.is_steady(times, window):
            return times, True
        check_at = len(times) + max(1, window // 4)


def _timed_blocks(
    run: Callable[[], Any], typical_ns: float, protocol: Dict[str, Any], kept: _pace.Every
) -> Tuple[List[List[int]], int, str]:
    """Time blocks of calls until the interval of the median of block medians is narrow enough or a cap is reached."""
    now = now_ns
    inner = max(1, int(math.ceil(_CALL_OVER_CLOCK * clock_cost_ns() / max(typical_ns, 1.0))))
    per_block = max(1, int(protocol["block_s"] * 1e9 / max(typical_ns * inner, 1.0)))
    start = now()
    while True:
        block = []
        for _ in range(per_block):
            before = now()
            for _ in range(inner):
                run()
            block.append((now() - before) // inner)
        kept.add(block)
        blocks = kept.blocks
        samples = per_block * len(blocks)
        elapsed_s = (now() - start) / 1e9 - kept.lost_s
        long_enough = elapsed_s >= protocol["min_measure_s"] and samples * inner >= protocol["min_calls"]
        if long_enough and _stopping.narrow_enough(kept.medians, protocol["within_half_width"]):
            return blocks, inner, "ci"
        if samples >= protocol["max_calls"] and elapsed_s >= protocol["min_measure_s"]:
            return blocks, inner, "call_cap"
        if elapsed_s >= protocol["max_measure_s"] and samples >= 5:
            return blocks, inner, "time_cap"
        if kept.lost_s > protocol.get("pace_wait_s", 0.0):
            return blocks or [block], inner, "slowed"


def clock_cost_ns() -> float:
    """Return what reading the clock twice costs."""
    now = now_ns
    pairs = []
    for _ in range(50):
        before = now()
        pairs.append(now() - before)
    return max(1.0, _stopping.median(pairs))
