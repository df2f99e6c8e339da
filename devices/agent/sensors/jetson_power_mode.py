"""The power mode of a Jetson, and the modes it has.

The file in which nvpmodel keeps its mode is not read: it says what will be set at the next boot.
"""

import re
from typing import Any, Dict, Optional, Tuple

from ._base import SensorUnavailable, read_text, rooted, value_in
from ._command import run

SLOW = True

_MODE = re.compile(r"POWER_MODEL:?\s+ID=(\d{1,3})\s+NAME=([^\s>]{1,64})")
_NAME = re.compile(r"NV Power Mode:\s*(\S.{0,63}?)\s*$")


def read() -> Dict[str, Any]:
    """Return id and name of the mode, and the names of all modes by id; raise SensorUnavailable without nvpmodel."""
    return dict(parse(run(["nvpmodel", "-q"]).text), modes=modes())


def modes() -> Dict[str, str]:
    """Return the modes this board has, by id (as text, as JSON has it); empty where neither file nor program tells."""
    found = parse_modes(read_text(rooted("/etc/nvpmodel.conf")) or "")
    if found:
        return found
    try:
        return parse_modes(run(["nvpmodel", "-p", "--verbose"]).text)
    except (SensorUnavailable, ValueError):
        return {}


def parse(text: str) -> Dict[str, Any]:
    """Return id and name in the answer of `nvpmodel -q`; raise ValueError for one without.

    The id is the next line that is a number. Around it stand lines that warn, of errors too where it was not root who
    asked; they do not matter to the mode.
    """
    name = ""
    for line in text.splitlines():
        found = _NAME.search(line)
        if found:
            name = "" if found.group(1).startswith("NVPM") else found.group(1)
        elif name and re.match(r"\s*\d{1,3}\s*$", line):
            return {"id": int(line), "name": name}
    raise ValueError("not the form of nvpmodel -q: %r" % text[:120])


def parse_modes(text: str) -> Dict[str, str]:
    """Return the names by id in /etc/nvpmodel.conf or in the answer of `nvpmodel -p --verbose`."""
    return {str(int(number)): name for number, name in _MODE.findall(text)}


def identity(values: Any) -> Dict[str, Any]:
    """Return the mode: it sets which cores are on and how fast everything may run."""
    return {"id": value_in(values, "id"), "name": value_in(values, "name")}


def advice(values: Any) -> Optional[Tuple[bool, str, str]]:
    """Return the mode for the doctor, and which others there are."""
    found = value_in(values, "modes")
    others = ["%s %s" % item for item in sorted(found.items())] if isinstance(found, dict) else []
    said = "power mode %s (%s)" % (str(value_in(values, "id"))[:8], str(value_in(values, "name"))[:64])
    return True, said, "there are: %s" % ", ".join(others)[:400] if len(others) > 1 else ""
