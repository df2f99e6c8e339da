"""Throttling counters of x86 cores; boards bring sensors of their own."""

from typing import Any, Dict, Optional

from ._base import SensorUnavailable, matching, number_in, read_number


def read() -> Dict[str, Any]:
    """Return how often cores and packages were throttled since boot; raise SensorUnavailable without counters."""
    pattern = "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/%s_throttle_count"
    counts: Dict[str, float] = {}
    for unit in ("core", "package"):
        values = [read_number(path) for path in matching(pattern % unit)]
        known = [value for value in values if value is not None]
        if known:
            counts[unit] = sum(known)
    if not counts:
        raise SensorUnavailable("this machine has no throttle counters")
    return {"events": sum(counts.values())}


def doubt(before: Any, after: Any) -> Optional[str]:
    """Return that cores were throttled between two readings."""
    grown = (number_in(after, "events") or 0.0) - (number_in(before, "events") or 0.0)
    return "throttled: %.6g times while it was timed" % grown if grown > 0 else None
