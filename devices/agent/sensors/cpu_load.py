"""CPU time of the whole machine since boot: what others took is found by difference."""

import os
from typing import Any, Dict

from ._base import SensorUnavailable, finite, read_text, rooted


def read() -> Dict[str, Any]:
    """Return busy and stolen CPU seconds summed over the cores, and the load average."""
    text = read_text(rooted("/proc/stat"))
    if text is None:
        raise SensorUnavailable("/proc/stat cannot be read")
    return dict(parse(text, os.sysconf("SC_CLK_TCK")), load_1min=os.getloadavg()[0])


def parse(text: str, ticks_per_second: float) -> Dict[str, float]:
    """Return busy_s (user, nice, system, irq, softirq) and stolen_s of the first line of /proc/stat."""
    fields = text.partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        raise ValueError("not the form of /proc/stat: %r" % text[:80])
    user, nice, system, _idle, _iowait, irq, softirq, steal = (finite(field) for field in fields[1:9])
    return {
        "busy_s": (user + nice + system + irq + softirq) / ticks_per_second,
        "stolen_s": steal / ticks_per_second,
    }
