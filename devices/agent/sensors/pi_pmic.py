"""The rails of a Raspberry Pi 5's power chip.

The sum over the rails is not what the board takes: peripherals and the losses of the converters are missing.
"""

import re
from typing import Any, Dict

from ._base import SensorUnavailable as SensorUnavailable
from ._vcgencmd import ask

SLOW = True
NOT_INCLUDED = "USB and other peripherals, losses of the converters and of the power supply"

_LINE = re.compile(r"(\w{1,40})_([AV]) (current|volt)\(\d{1,4}\)=(-?\d{1,6}(?:\.\d{1,12})?)([AV])$")


def read() -> Dict[str, Any]:
    """Return what `parse` returns; raise SensorUnavailable on a Pi without such a chip (before the Pi 5)."""
    return parse(ask("pmic_read_adc"))


def parse(text: str) -> Dict[str, Any]:
    """Return rails with current_a, voltage_v and power_w, their sum, and the voltages without a current.

    Currents and voltages are joined by the rail's name, since the numbers in brackets differ between firmwares.
    `power_w` is the sum over the rails that have both (`scope` rails_sum). Raise ValueError for another form.
    """
    currents: Dict[str, float] = {}
    voltages: Dict[str, float] = {}
    for line in text.strip().splitlines():
        found = _LINE.match(line.strip())
        kind = found and found.group(2) + found.group(3) + found.group(5)
        if not found or kind not in ("AcurrentA", "VvoltV"):
            raise ValueError("not a line of pmic_read_adc: %r" % line[:80])
        values = currents if kind == "AcurrentA" else voltages
        if found.group(1) in values:
            raise ValueError("a rail of pmic_read_adc stands twice: %s" % found.group(1))
        values[found.group(1)] = float(found.group(4))
    return _joined(currents, voltages)


def _joined(currents: Dict[str, float], voltages: Dict[str, float]) -> Dict[str, Any]:
    rails = {
        name: {"current_a": currents[name], "voltage_v": voltages[name], "power_w": currents[name] * voltages[name]}
        for name in currents
        if name in voltages
    }
    if not rails:
        raise ValueError("pmic_read_adc shows no rail with both current and voltage")
    return {
        "rails": rails,
        "power_w": sum(rail["power_w"] for rail in rails.values()),
        "scope": "rails_sum",
        "input_v": voltages.get("EXT5V"),
        "without_current_v": {name: value for name, value in voltages.items() if name not in currents},
        "without_voltage_a": {name: value for name, value in currents.items() if name not in voltages},
    }
