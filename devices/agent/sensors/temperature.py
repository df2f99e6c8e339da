"""Thermal zones."""

import glob
from typing import Any, Dict

from ._base import SensorUnavailable, read_number, read_text


def read() -> Dict[str, Any]:
    """Return degrees Celsius by zone; a zone that is powered off (-256) or absurd is left out."""
    zones: Dict[str, float] = {}
    for folder in sorted(glob.glob("/sys/class/thermal/thermal_zone*")):
        value = read_number(folder + "/temp")
        if value is not None and -60e3 < value < 200e3:
            name = read_text(folder + "/type") or folder.rsplit("/", 1)[-1]
            zones[name if name not in zones else folder.rsplit("/", 1)[-1]] = value / 1e3
    if not zones:
        raise SensorUnavailable("no thermal zone can be read")
    return {"zones_celsius": zones, "max_celsius": max(zones.values())}
