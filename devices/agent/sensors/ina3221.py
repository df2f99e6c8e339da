"""The power monitors of a Jetson: voltage, current and power of each rail, without the carrier board."""

import math
from typing import Any, Dict, List, Optional

from ._base import SensorUnavailable, matching, number_in, read_number, read_text, scaled
from ._rails import total

_HWMON = "/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon[0-9]*"
_IIO = "/sys/bus/i2c/drivers/ina3221x/*/iio*device[0-9]*"  # JetPack 4

NOT_INCLUDED = "the carrier board (but not on a Jetson Nano, whose rail is the input), losses of the power supply"

#: One step of the chip (13 bits): of the voltage at the rail and of the one across the shunt.
_BUS_STEP_V, _SHUNT_STEP_V = 8e-3, 40e-6

Rail = Dict[str, Optional[float]]


def read() -> Dict[str, Any]:
    """Return rails with voltage_v, current_a and power_w, and the module's power with the formula it comes from.

    Rails go by their names, because the numbers of the folders move. Raise SensorUnavailable without a monitor.
    """
    rails: Dict[str, Rail] = {}
    for folder in matching(_HWMON):
        rails.update(_of_hwmon(folder))
    for folder in matching(_IIO):
        rails.update(_of_iio(folder))
    if not rails:
        raise SensorUnavailable("no INA3221 power monitor with named rails")
    return dict(total({name: rail["power_w"] for name, rail in rails.items()}), rails=rails)


def _of_hwmon(folder: str) -> Dict[str, Rail]:
    """Channels 1 to 3 are rails; 4 to 6 are shunt voltages and 7 is their sum."""
    found = {}
    for number in range(1, 4):
        name = read_text("%s/in%d_label" % (folder, number))
        if name and name != "NC":
            found[name] = _rail(folder, "in%d_input" % number, "curr%d_input" % number)
    return found


def _of_iio(folder: str) -> Dict[str, Rail]:
    found = {}
    for number in range(3):
        name = read_text("%s/rail_name_%d" % (folder, number))
        if name and name != "NC":
            found[name] = _rail(folder, "in_voltage%d_input" % number, "in_current%d_input" % number)
    return found


def _rail(folder: str, voltage: str, current: str) -> Rail:
    """Both files hold thousandths; power is their product, since not every driver shows it and some round it."""
    values: List[Optional[float]] = [scaled(read_number("%s/%s" % (folder, name)), 1e-3) for name in (voltage, current)]
    voltage_v, current_a = values
    power_w = None if voltage_v is None or current_a is None else voltage_v * current_a
    return {"voltage_v": voltage_v, "current_a": current_a, "power_w": power_w}


def update_s() -> Optional[float]:
    """Return how often the chips have a new value, None where the driver does not tell."""
    found = [read_number(folder + "/update_interval") for folder in matching(_HWMON)]
    known = [value for value in found if value is not None]
    return max(known) * 1e-3 if known else None


def resolution(values: Any) -> Optional[float]:
    """Return the step of the module's power in watts, None where the shunts are not known.

    A step of the voltage is worth the current, a step of the current the voltage; steps of rails that are added up are
    independent.
    """
    shunts_ohm = _shunts_ohm()
    steps_w = []
    for name in str(values.get("formula") or "").split(" + "):
        voltage_v, current_a = (number_in(values, "rails", name, key) for key in ("voltage_v", "current_a"))
        shunt_ohm = shunts_ohm.get(name)
        if voltage_v is None or current_a is None or not shunt_ohm:
            return None
        steps_w.append(math.hypot(current_a * _BUS_STEP_V, voltage_v * _SHUNT_STEP_V / shunt_ohm))
    return math.sqrt(sum(step_w**2 for step_w in steps_w))


def _shunts_ohm() -> Dict[str, float]:
    """Return the shunt of each rail; the file holds millionths."""
    found = {}
    for folder in matching(_HWMON):
        for number in range(1, 4):
            name = read_text("%s/in%d_label" % (folder, number))
            value = read_number("%s/shunt%d_resistor" % (folder, number))
            if name and value:
                found[name] = value * 1e-6
    return found
