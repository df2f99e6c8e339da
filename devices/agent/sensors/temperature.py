"""Thermal zones."""

from typing import Any, Dict, Optional

from ._base import SensorUnavailable, matching, number_in, read_number, read_text

#: Above this a board is at or about to reach the point where it slows down (Jetson Orin 99 C, Xavier 97 C, most x86
#: 100 C), and not every board counts such events. A Raspberry Pi slows at 80 to 85 C, but says so (`pi_throttle`).
_HOT_CELSIUS = 95.0
#: Jetsons show a PMIC that is not measured: always one of these.
_DUMMIES_CELSIUS = (50.0, 100.0)


def read() -> Dict[str, Any]:
    """Return degrees Celsius by zone; a zone that is powered off (-256), absurd or a dummy is left out."""
    zones: Dict[str, float] = {}
    for folder in matching("/sys/class/thermal/thermal_zone[0-9]*"):
        value, number = read_number(folder + "/temp"), folder.rsplit("/", 1)[-1]
        name = read_text(folder + "/type") or number
        if value is not None and is_measured(name, value / 1e3):
            zones[name if name not in zones else number] = value / 1e3
    if not zones:
        raise SensorUnavailable("no thermal zone can be read")
    return {"zones_celsius": zones, "max_celsius": max(zones.values())}


def is_measured(name: str, temperature_celsius: float) -> bool:
    """Say whether a zone's value is a temperature: not that of a sensor without power, nor of a dummy."""
    if name.upper().startswith("PMIC") and temperature_celsius in _DUMMIES_CELSIUS:
        return False
    return -60.0 < temperature_celsius < 200.0


def doubt(before: Any, after: Any) -> Optional[str]:
    """Return that the machine was so hot that it slows down."""
    hottest = max(number_in(values, "max_celsius") or 0.0 for values in (before, after))
    return "hot: %.0f C while it was timed" % hottest if hottest > _HOT_CELSIUS else None
