"""Under-voltage, capping and throttling of a Raspberry Pi, now and since boot.

It decides whether a measurement counts, so it is read around every one: from sysfs where the kernel has it, else by
starting `vcgencmd`, which takes some milliseconds, before and after but never while something is timed.
"""

import re
from typing import Any, Dict, List, Optional, Tuple

from ._base import SensorUnavailable as SensorUnavailable
from ._base import matching, read_text, texts_in
from ._vcgencmd import ask

_FILES = (
    "/sys/devices/platform/soc/soc:firmware/get_throttled",
    "/sys/devices/platform/soc@*/*firmware*/get_throttled",  # some kernels name the folder by its address
)
_NAMES = {0: "under_voltage", 1: "frequency_capped", 2: "throttled", 3: "soft_temperature_limit"}


def read() -> Dict[str, Any]:
    """Return what is the case now (`now`), what has been since boot (`since_boot`), and the bits themselves.

    Raise SensorUnavailable where neither file nor vcgencmd is there, ValueError for an answer of another form.
    """
    for pattern in _FILES:
        for path in matching(pattern):
            text = read_text(path)
            if text is not None:
                return dict(parse_file(text), source="sysfs")
    return dict(parse(ask("get_throttled")), source="vcgencmd")


def parse(text: str) -> Dict[str, Any]:
    """Return the states in the answer of vcgencmd, `throttled=0x50005`."""
    found = re.match(r"throttled=0x([0-9a-fA-F]{1,8})$", text.strip())
    if not found:
        raise ValueError("not the form of get_throttled: %r" % text[:80])
    return _states(int(found.group(1), 16))


def parse_file(text: str) -> Dict[str, Any]:
    """Return the states in the kernel's file: hexadecimal as well, but without 0x."""
    found = re.match(r"(?:0x)?([0-9a-fA-F]{1,8})$", text.strip())
    if not found:
        raise ValueError("not the form of the file get_throttled: %r" % text[:80])
    return _states(int(found.group(1), 16))


def doubt(before: Any, after: Any) -> Optional[str]:
    """Return what held the Pi back, or did for a moment between two readings; old history is no reason."""
    now = sorted(set(texts_in(before, "now") + texts_in(after, "now")))
    if now:
        return "throttled: %s while it was timed" % ", ".join(now)
    new = sorted(set(texts_in(after, "since_boot")) - set(texts_in(before, "since_boot")))
    return "throttled: %s for a moment while it was timed" % ", ".join(new) if new else None


def advice(values: Any) -> Optional[Tuple[bool, str, str]]:
    """Return whether power supply and cooling have held so far."""
    now, earlier = texts_in(values, "now"), texts_in(values, "since_boot")
    if not now and not earlier:
        return True, "never throttled since boot", ""
    remedy = "a supply and cable that hold 5.1 V under load" if "under_voltage" in now + earlier else "better cooling"
    return not now, "now: %s; since boot: %s" % (", ".join(now) or "nothing", ", ".join(earlier) or "nothing"), remedy


def _states(bits: int) -> Dict[str, Any]:
    return {"bits": bits, "now": _names(bits & 0xFFFF), "since_boot": _names(bits >> 16)}


def _names(bits: int) -> List[str]:
    return [_NAMES.get(i, "bit_%d" % i) for i in range(16) if bits >> i & 1]
