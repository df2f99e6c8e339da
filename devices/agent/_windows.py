"""An idle window and an active one, for whoever reads the energy meanwhile: the worker itself reads no sensor."""

import time
from typing import Any, Callable, Dict

from ._loop import warm_up
from ._paced import Schedule

#: After the warm-up, while clocks and currents fall; no part of any window.
_SETTLE_S = 1.0


def idle_then_active(run: Callable[[], Any], protocol: Dict[str, Any]) -> Dict[str, Any]:
    """Return begin and end of both windows on the monotonic clock, and how many calls were made in the active one.

    Warm-up, then blocked for `idle_s` with the model loaded, then calls, back to back or at `rate_hz`, for at least
    `active_s` and `active_calls`.
    """
    cpu_began, began = time.process_time(), time.perf_counter()
    warm, converged = warm_up(run, protocol)
    warmup_s = time.perf_counter() - began
    idle_s = float(protocol["idle_s"])
    time.sleep(min(_SETTLE_S, idle_s / 10))
    idle_began = time.monotonic()
    time.sleep(idle_s)
    idle_ended = time.monotonic()
    schedule = Schedule(float(protocol["rate_hz"]))
    calls, took_ns = 0, 0
    active_began = time.monotonic()
    while calls < protocol["active_calls"] or time.monotonic() - active_began < protocol["active_s"]:
        took_ns += schedule.call(run)[1]
        calls += 1
    active_ended = time.monotonic()
    busy_s = warmup_s + took_ns / 1e9
    return {
        "windows": {"idle": (idle_began, idle_ended), "active": (active_began, active_ended)},
        "calls": calls,
        "warmup_s": warmup_s,
        "warmup_calls": len(warm),
        "warmup_converged": converged,
        "busy_s": busy_s,
        "cpu_s": min(time.process_time() - cpu_began, busy_s),
        "stop": "energy",
    }
