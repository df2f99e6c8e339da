"""Timing calls as they come in use: on a schedule with idle time in between, or for as long as it takes to heat."""

import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import _stopping
from ._pace import now_ns

_WARM_CALLS = 5
_BLOCK_CALLS = 8
_LONGEST_S = 120.0
#: What one answer can hold; longer records are thinned evenly.
_MAX_SAMPLES = 100000
_SLICES = 60

Call = Tuple[float, int]  # seconds since the beginning, nanoseconds it took


def paced(run: Callable[[], Any], protocol: Dict[str, Any]) -> Dict[str, Any]:
    """Return the samples of calls that start on a schedule of `rate_hz`; calls that start late are counted.

    At least `min_calls` calls, at most two minutes of them; it ends early when the interval of the median of blocks
    of 8 calls is narrow enough.
    """
    rate_hz = float(protocol["rate_hz"])
    clock = Schedule(rate_hz)
    cpu_began = time.process_time()
    warm = [clock.call(run)[1] for _ in range(_WARM_CALLS)]
    latest_s = min(_LONGEST_S, max(float(protocol["max_measure_s"]), protocol["min_calls"] / rate_hz))
    took: List[int] = []
    began = time.perf_counter()
    stop = "time_cap"
    while time.perf_counter() - began < latest_s or len(took) < 2:
        took.append(clock.call(run)[1])
        if len(took) % _BLOCK_CALLS or len(took) < protocol["min_calls"]:
            continue
        blocks = [took[i : i + _BLOCK_CALLS] for i in range(0, len(took), _BLOCK_CALLS)]
        if _stopping.narrow_enough([_stopping.median(block) for block in blocks], protocol["within_half_width"]):
            stop = "ci"
            break
    return _result(warm, took, stop, clock, cpu_began)


def sustained(run: Callable[[], Any], protocol: Dict[str, Any]) -> Dict[str, Any]:
    """Return the samples of calls for `sustained_s`, back to back or at `rate_hz`, and how latency went over time.

    `timeline` has 60 equal slices with t_s, median_ns, p90_ns and calls; of more than 100,000 samples every n-th is
    kept.
    """
    clock = Schedule(float(protocol.get("rate_hz", 0.0)))
    cpu_began = time.process_time()
    warm = [clock.call(run)[1] for _ in range(3)]
    length_s = float(protocol["sustained_s"])
    calls: List[Call] = []
    start_s = time.perf_counter()
    while time.perf_counter() - start_s < length_s or not calls:
        began_s, took = clock.call(run)
        calls.append((began_s - start_s, took))
    step = -(-len(calls) // _MAX_SAMPLES)
    found = _result(warm, [took for _, took in calls], "sustained", clock, cpu_began)
    return dict(found, samples_ns=found["samples_ns"][::step], timeline=timeline(calls, length_s))


def timeline(calls: List[Call], length_s: float) -> List[Dict[str, float]]:
    """Return median, p90 and count of the calls of each of 60 slices of time; a slice without calls is left out."""
    slices: List[List[int]] = [[] for _ in range(_SLICES)]
    for at_s, took in calls:
        slices[min(_SLICES - 1, max(0, int(at_s / length_s * _SLICES)))].append(took)
    return [
        {
            "t_s": i * length_s / _SLICES,
            "median_ns": _stopping.median(found),
            "p90_ns": _stopping.quantile(sorted(found), 0.9),
            "calls": len(found),
        }
        for i, found in enumerate(slices)
        if found
    ]


class Schedule:
    """Starts calls at fixed times, sleeping (never spinning) in between, so that clocks are free to fall."""

    def __init__(self, rate_hz: float) -> None:
        self._period_s = 1.0 / rate_hz if rate_hz > 0 else 0.0
        self._next_s: Optional[float] = None
        self.late = 0
        self.began_s = time.perf_counter()

    def call(self, run: Callable[[], Any]) -> Tuple[float, int]:
        """Wait for the next slot, call, and return when it began (s) and what it took (ns)."""
        if self._period_s:
            self._wait()
        began_s = time.perf_counter()
        before = now_ns()
        run()
        return began_s, now_ns() - before

    def _wait(self) -> None:
        now_s = time.perf_counter()
        if self._next_s is None:
            self._next_s = now_s
        elif now_s > self._next_s:
            self.late += 1
            # Slots that have passed are left out: a slow model is called at its own pace, not in bursts.
            self._next_s += self._period_s * int((now_s - self._next_s) / self._period_s)
        if now_s < self._next_s:
            time.sleep(self._next_s - now_s)
        self._next_s += self._period_s


def _result(warm: List[int], took: List[int], stop: str, clock: Schedule, cpu_began: float) -> Dict[str, Any]:
    busy_s = (sum(warm) + sum(took)) / 1e9
    return {
        "samples_ns": [max(1, ns) for ns in took],
        "calls_per_sample": 1,
        "warmup_s": sum(warm) / 1e9,
        "warmup_calls": len(warm),
        "warmup_converged": True,
        "busy_s": busy_s,
        "cpu_s": min(time.process_time() - cpu_began, busy_s),
        "paced_s": time.perf_counter() - clock.began_s,
        "late_calls": clock.late,
        "stop": stop,
    }
