"""Reading all sensors at once."""

import time
from typing import Any, Dict

from . import _plugins
from .sensors._base import SensorUnavailable


def read_sensors(slow: bool, settings: Dict[str, Any]) -> Dict[str, Any]:
    """Return what every sensor says, one entry a sensor.

    A sensor that is not there says `unavailable`, one whose output makes no sense says `error`: neither is ever a
    number. `slow` reads also those that start a process. `settings` holds what a sensor needs to be told, by name.
    """
    found: Dict[str, Any] = {"monotonic_s": time.monotonic()}
    for name in _plugins.names("sensors"):
        module = _plugins.load("sensors", name)
        if slow or not getattr(module, "SLOW", False):
            found[name] = _read(module, settings.get(name))
    return found


def _read(module: Any, settings: Any) -> Any:
    try:
        return module.read() if settings is None else module.read(settings)
    except SensorUnavailable as error:
        return {"unavailable": str(error)[:200]}
    except Exception as error:  # whatever a board's files and programs say must not end the campaign
        return {"error": ("%s: %s" % (type(error).__name__, error))[:200]}
