"""Energy counters of x86 processors."""

from typing import Any, Dict

from ._base import SensorUnavailable, matching, number_in, read_number, read_text, scaled, value_in

_HINT = "energy counters are readable by root only; a udev rule allows a group to read them: %s"
_RULE = 'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chgrp -R power /sys%p", RUN+="/bin/chmod -R g=u /sys%p"'

NOT_INCLUDED = "memory modules, graphics cards, board, fans, losses of the power supply"

#: The unit of most Intel processors (2^-14 J); others count in finer steps.
_STEP_J = 6.1e-5


def read() -> Dict[str, Any]:
    """Return energy_j by package, each with the range after which its counter starts anew.

    Raise SensorUnavailable without counters or the right to read them.
    """
    zones: Dict[str, Any] = {}
    folders = matching("/sys/class/powercap/intel-rapl:[0-9]*")
    for folder in folders:
        energy = read_number(folder + "/energy_uj")
        name = read_text(folder + "/name") or folder.rsplit("/", 1)[-1]
        if energy is not None and name.startswith("package"):  # parts of a package are counted in it
            range_uj = read_number(folder + "/max_energy_range_uj")
            zones[name] = {"energy_j": energy * 1e-6, "range_j": scaled(range_uj, 1e-6)}
    if zones:
        return {"zones": zones, "scope": "package"}
    raise SensorUnavailable(_HINT % _RULE if folders else "no energy counters")


def used_j(before: Any, after: Any) -> Dict[str, float]:
    """Return the joules of each package between two readings; a counter that went round once is taken into account.

    A package whose counter went back and has no known range is left out. Never raises.
    """
    found = {}
    zones = value_in(after, "zones")
    for name in sorted(zones) if isinstance(zones, dict) else []:
        start, end = number_in(before, "zones", name, "energy_j"), number_in(after, "zones", name, "energy_j")
        range_j = number_in(after, "zones", name, "range_j")
        if start is not None and end is not None and (end >= start or range_j is not None):
            found[name] = end - start if end >= start else end - start + (range_j or 0.0)
    return found


def resolution(values: Any) -> float:
    """Return the step of the counters in joules."""
    return _STEP_J
