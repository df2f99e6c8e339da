"""Clocks, limits and governors of the cores, from cpufreq or, where that is missing, /proc/cpuinfo."""

import re
from typing import Any, Dict, List, Optional

from ._base import SensorUnavailable, finite, matching, read_text, rooted, texts_in, value_in


def read() -> Dict[str, Any]:
    """Return current clocks in Hz (`current_hz`, one a core), governors, and the limits set (`limits_hz`).

    `limits_hz` lists the different pairs of lowest and highest clock allowed; equal ones mean a locked clock. Raise
    SensorUnavailable where no clock is shown.
    """
    folders = matching("/sys/devices/system/cpu/cpu[0-9]*/cpufreq")
    if folders:
        return dict(_of_cpufreq(folders), source="cpufreq")
    found = clocks_of_cpuinfo(read_text(rooted("/proc/cpuinfo")) or "")
    if not found:
        raise SensorUnavailable("neither cpufreq nor /proc/cpuinfo shows a clock")
    return {"current_hz": found, "governors": [], "limits_hz": [], "source": "cpuinfo"}


def clocks_of_cpuinfo(text: str) -> Any:
    """Return the clocks in Hz that /proc/cpuinfo lists (x86: `cpu MHz : 2994.374`)."""
    return [float(match) * 1e6 for match in re.findall(r"^cpu MHz\s*:\s*(\d{1,9}\.?\d{0,9})\s*$", text, re.MULTILINE)]


def doubt(before: Any, after: Any) -> Optional[str]:
    """Return that governor or limits changed: a cooling kernel lowers the upper limit, and so does another program."""
    for name, words in (("governors", "governor"), ("limits_hz", "clock limits")):
        old, new = value_in(before, name), value_in(after, name)
        if old != new:
            return "clocks: the %s changed from %s to %s while it was timed" % (words, _short(old), _short(new))
    return None


def identity(values: Any) -> Dict[str, Any]:
    """Return governors and limits, where the machine has them."""
    return {"governors": texts_in(values, "governors"), "limits_hz": value_in(values, "limits_hz") or []}


def _of_cpufreq(folders: List[str]) -> Dict[str, Any]:
    governors = {read_text(folder + "/scaling_governor") for folder in folders}
    limits = {(_clock(folder, "scaling_min_freq"), _clock(folder, "scaling_max_freq")) for folder in folders}
    known = [(low, high) for low, high in limits if low is not None and high is not None]
    return {
        "current_hz": [_clock(folder, "scaling_cur_freq") for folder in folders],
        "governors": sorted(governor for governor in governors if governor),
        "limits_hz": [[low, high] for low, high in sorted(known)],
    }


def _clock(folder: str, name: str) -> Optional[float]:
    text = read_text("%s/%s" % (folder, name))
    return None if text in (None, "<unknown>") else finite(str(text)) * 1e3  # the kernel itself says <unknown>


def _short(value: Any) -> str:
    return str(value)[:80]
