"""An external power meter: a program of the user's that prints watts."""

import re
from typing import Any, Dict

from ._base import SensorUnavailable
from ._command import run

SLOW = True
NOT_INCLUDED = "whatever the meter does not see; where it is connected is known to its user only"

#: More than any board or workstation takes: a value in the wrong unit.
_MAX_W = 1e4
_MAX_TIMEOUT_S = 10.0
_NUMBER = re.compile(r"([-+]?\d{0,12}\.?\d{0,12}(?:[eE][-+]?\d{1,2})?)\s*(W|mW)?$")


def read(settings: Any = None) -> Dict[str, Any]:
    """Return power_w that the program in `settings` says; `{"argv": [program, argument, ...], "timeout_s": 2}`.

    Raise SensorUnavailable where no meter is configured or its program is missing, ValueError when it fails or says
    something else than one number of watts.
    """
    argv, timeout_s = _checked(settings)
    said = run(argv, timeout_s, with_stderr=False)
    if said.code != 0:
        raise ValueError("the power meter's program failed with code %d" % said.code)
    return {"power_w": parse(said.text), "scope": "external"}


def parse(text: str) -> float:
    """Return the watts in `7.25`, `7.25 W` or `7250mW`; raise ValueError for anything else and absurd numbers."""
    found = _NUMBER.match(text.strip())
    if not found:
        raise ValueError("the power meter said %r, not one number in W or mW" % text[:60])
    power_w = float(found.group(1)) * (1e-3 if found.group(2) == "mW" else 1.0)
    if not 0.0 <= power_w <= _MAX_W:
        raise ValueError("a power meter that says %g W" % power_w)
    return power_w


def _checked(settings: Any) -> Any:
    if not settings or not settings.get("argv"):
        raise SensorUnavailable("no power meter is configured")
    argv, timeout_s = settings["argv"], settings.get("timeout_s", 2.0)
    if not isinstance(argv, (list, tuple)) or not all(isinstance(part, str) for part in argv):
        raise ValueError("the power meter's argv is no list of texts")
    if not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= _MAX_TIMEOUT_S:
        raise ValueError("the power meter's timeout_s is not between 0 and %g s" % _MAX_TIMEOUT_S)
    return list(argv), timeout_s
