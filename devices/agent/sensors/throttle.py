"""Throttling counters of x86 cores; boards bring sensors of their own."""

import glob
from typing import Any, Dict

from ._base import SensorUnavailable, read_number


def read() -> Dict[str, Any]:
    """Return how often cores and packages were throttled since boot; raise SensorUnavailable without counters."""
    pattern = "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/%s_throttle_count"
    counts: Dict[str, float] = {}
    for unit in ("core", "package"):
        values = [read_number(path) for path in glob.glob(pattern % unit)]
        known = [value for value in values if value is not None]
        if known:
            counts[unit] = sum(known)
    if not counts:
        raise SensorUnavailable("this machine has no throttle counters")
    return {"events": sum(counts.values())}
