"""Clocks and governors of the cores, from cpufreq or, where that is missing, /proc/cpuinfo."""

import glob
import re
from typing import Any, Dict

from ._base import SensorUnavailable, read_number, read_text

_CPUFREQ = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq"


def read() -> Dict[str, Any]:
    """Return current clocks in Hz (`current_hz`, one a core) and governors; raise SensorUnavailable without any."""
    folders = sorted(glob.glob(_CPUFREQ))
    if folders:
        clocks = [read_number(folder + "/scaling_cur_freq") for folder in folders]
        governors = {read_text(folder + "/scaling_governor") for folder in folders}
        return {
            "current_hz": [None if clock is None else clock * 1e3 for clock in clocks],
            "governors": sorted(governor for governor in governors if governor),
            "source": "cpufreq",
        }
    found = clocks_of_cpuinfo(read_text("/proc/cpuinfo") or "")
    if not found:
        raise SensorUnavailable("neither cpufreq nor /proc/cpuinfo shows a clock")
    return {"current_hz": found, "governors": [], "source": "cpuinfo"}


def clocks_of_cpuinfo(text: str) -> Any:
    """Return the clocks in Hz that /proc/cpuinfo lists (x86: `cpu MHz : 2994.374`)."""
    return [float(match) * 1e6 for match in re.findall(r"^cpu MHz\s*:\s*([\d.]+)\s*$", text, re.MULTILINE)]
