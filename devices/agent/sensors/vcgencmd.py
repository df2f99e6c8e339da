"""Clocks, temperatures and core voltage of a Raspberry Pi as its firmware knows them.

The firmware's clock is the true one: what cpufreq shows is what was asked for.
"""

import re
from typing import Any, Dict, Optional

from ._base import SensorUnavailable
from ._vcgencmd import ask

SLOW = True


def read() -> Dict[str, Any]:
    """Return arm_hz, core_hz, temperature_celsius, pmic_celsius (None before the Pi 5) and core_v."""
    return {
        "arm_hz": parse_clock(ask("measure_clock", "arm")),
        "core_hz": parse_clock(ask("measure_clock", "core")),
        "temperature_celsius": parse_temperature(ask("measure_temp")),
        "pmic_celsius": _pmic(),
        "core_v": parse_voltage(ask("measure_volts", "core")),
    }


def parse_clock(text: str) -> float:
    """Return the Hz in `frequency(48)=2000478464`; the number in brackets differs between firmwares."""
    return _number(r"frequency\(\d{1,4}\)=(\d{1,12})$", text)


def parse_temperature(text: str) -> float:
    """Return the degrees in `temp=43.8'C`."""
    return _number(r"temp=(-?\d{1,4}(?:\.\d{1,6})?)'C$", text)


def parse_voltage(text: str) -> float:
    """Return the volts in `volt=0.8563V`."""
    return _number(r"volt=(\d{1,4}(?:\.\d{1,8})?)V$", text)


def _pmic() -> Optional[float]:
    try:
        return parse_temperature(ask("measure_temp", "pmic"))
    except SensorUnavailable:
        return None


def _number(pattern: str, text: str) -> float:
    found = re.match(pattern, text.strip())
    if not found:
        raise ValueError("not the form of a vcgencmd answer: %r" % text[:80])
    return float(found.group(1))
