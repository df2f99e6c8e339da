"""Asking the firmware of a Raspberry Pi."""

from typing import List

from ._base import SensorUnavailable
from ._command import run

#: What vcgencmd says where the device is missing (another kernel) or not ours (the group `video`).
_NO_DEVICE = ("Can't open device file", "VCHI initialization failed", "Failed to open")


def ask(*arguments: str) -> str:
    """Return what `vcgencmd` answers; raise SensorUnavailable where it is missing, not ours, or has no such answer."""
    return answer(run(["vcgencmd"] + list(arguments)).text, list(arguments))


def answer(text: str, arguments: List[str]) -> str:
    """Return an answer stripped; raise SensorUnavailable for one that says why there is none, ValueError for none."""
    said = text.strip()
    if any(words in said for words in _NO_DEVICE):
        why = "user not in group video (sudo usermod -aG video USER, then log in again), or not a Raspberry Pi kernel"
        raise SensorUnavailable("vcgencmd has no access: %s" % why)
    if said.startswith("error="):
        raise SensorUnavailable("vcgencmd %s: %s" % (" ".join(arguments), said[:100]))
    if not said:
        raise ValueError("vcgencmd %s said nothing" % " ".join(arguments))
    return said
