"""How often a Jetson's hardware slowed it down for its power supply."""

from typing import Any, Dict, Optional, Tuple

from ._base import SensorUnavailable, matching, numbers_in, read_number, read_text

_NAMES = {"oc1": "under_voltage", "oc2": "average_over_current", "oc3": "instantaneous_over_current"}


def read() -> Dict[str, Any]:
    """Return events since boot by alarm; raise SensorUnavailable on a machine without such counters."""
    events: Dict[str, float] = {}
    for path in matching("/sys/class/hwmon/hwmon[0-9]*/oc[0-9]*_event_cnt"):
        folder, file = path.rsplit("/", 1)
        count = read_number(path)
        if count is not None and (read_text(folder + "/name") or "soctherm_oc") == "soctherm_oc":
            number = file.split("_")[0]
            events[_NAMES.get(number, number)] = count
    if not events:
        raise SensorUnavailable("no over-current counters")
    return {"events": events}


def doubt(before: Any, after: Any) -> Optional[str]:
    """Return which alarms slowed the board down between two readings."""
    old, new = numbers_in(before, "events"), numbers_in(after, "events")
    grown = [(name, count - old.get(name, 0.0)) for name, count in sorted(new.items())]
    said = ["%s %.6g times" % (name, more) for name, more in grown if more > 0]
    return "throttled: %s while it was timed" % ", ".join(said[:8]) if said else None


def advice(values: Any) -> Optional[Tuple[bool, str, str]]:
    """Return whether the power supply has held since boot."""
    events = {name: count for name, count in numbers_in(values, "events").items() if count > 0}
    if not events:
        return True, "no over-current events since boot", ""
    found = ", ".join("%s %.6g times" % item for item in sorted(events.items())[:8])
    return False, found + " since boot", "a stronger power supply, or a lower power mode"
