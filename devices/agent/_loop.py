"""Timing calls that follow each other at once: warm-up until steady, then blocks until the median is known."""

import math
import time
from typing import Any, Callable, Dict, List, Tuple

from . import _stopping

#: Python 3.6 has no clock in whole nanoseconds.
now_ns = getattr(time, "perf_counter_ns", None) or (lambda: int(time.perf_counter() * 1e9))

#: A call must last this many times the cost of reading the clock, or calls are timed in groups.
_CALL_OVER_CLOCK = 200


def back_to_back(run: Callable[[], Any], protocol: Dict[str, Any]) -> Dict[str, Any]:
    """Return the samples of calls that follow each other at once, and how they were taken."""
    began = time.perf_counter()
    cpu_began = time.process_time()
    warm, converged = warm_up(run, protocol)
    warmup_s = time.perf_counter() - began
    blocks, inner, stop = _timed_blocks(run, _stopping.median(warm[-10:]), protocol)
    busy_s = time.perf_counter() - began
    return {
        "samples_ns": [ns for block in blocks for ns in block],
        "calls_per_sample": inner,
        "blocks": [len(block) for block in blocks],
        "half_width": _stopping.half_width([_stopping.median(block) for block in blocks]),
        "warmup_s": warmup_s,
        "warmup_calls": len(warm),
        "warmup_converged": converged,
        "busy_s": busy_s,
        "cpu_s": time.process_time() - cpu_began,
        "stop": stop,
        "clock_ns": clock_cost_ns(),
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
    run: Callable[[], Any], typical_ns: float, protocol: Dict[str, Any]
) -> Tuple[List[List[int]], int, str]:
    """Time blocks of calls until the interval of the median of block medians is narrow enough or a cap is reached."""
    now = now_ns
    inner = max(1, int(math.ceil(_CALL_OVER_CLOCK * clock_cost_ns() / max(typical_ns, 1.0))))
    per_block = max(1, int(protocol["block_s"] * 1e9 / max(typical_ns * inner, 1.0)))
    blocks: List[List[int]] = []
    medians: List[float] = []
    samples = 0
    start = now()
    while True:
        block = []
        for _ in range(per_block):
            before = now()
            for _ in range(inner):
                run()
            block.append((now() - before) // inner)
        blocks.append(block)
        medians.append(_stopping.median(block))
        samples += per_block
        elapsed_s = (now() - start) / 1e9
        long_enough = elapsed_s >= protocol["min_measure_s"] and samples * inner >= protocol["min_calls"]
        if long_enough and _stopping.narrow_enough(medians, protocol["within_half_width"]):
            return blocks, inner, "ci"
        if samples >= protocol["max_calls"] and elapsed_s >= protocol["min_measure_s"]:
            return blocks, inner, "call_cap"
        if elapsed_s >= protocol["max_measure_s"] and samples >= 5:
            return blocks, inner, "time_cap"


def clock_cost_ns() -> float:
    """Return what reading the clock twice costs."""
    now = now_ns
    pairs = []
    for _ in range(50):
        before = now()
        pairs.append(now() - before)
    return max(1.0, _stopping.median(pairs))
