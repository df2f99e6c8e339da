"""What all sensors share: files below a root that a fixture can replace, and care with foreign values."""

import glob
import math
import os
import re
from typing import Any, Dict, List, Optional, Tuple

_MAX_FILE = 65536


class SensorUnavailable(Exception):
    """This machine does not show what the sensor reads; the text says why."""


def rooted(path: str) -> str:
    """Return where an absolute path lies: below HILNAS_SENSOR_ROOT where that is set."""
    return os.environ.get("HILNAS_SENSOR_ROOT", "") + path


def matching(pattern: str) -> List[str]:
    """Return the files that an absolute pattern matches below the root, in the order of the numbers in their names."""
    return sorted(glob.glob(glob.escape(rooted("")) + pattern), key=_natural)


def read_text(path: str) -> Optional[str]:
    """Return the stripped text of a small file, None where it is not there or not ours to read.

    A device tree ends its texts with a NUL, which is stripped too; bytes that are no UTF-8 are replaced.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_FILE).strip(" \t\r\n\0")
    except OSError:
        return None


def device_tree(name: str) -> Optional[str]:
    """Return a text of the device tree; /proc/device-tree is but a link to where it lies."""
    return read_text(rooted("/proc/device-tree/" + name)) or read_text(rooted("/sys/firmware/devicetree/base/" + name))


def read_number(path: str) -> Optional[float]:
    """Return the number in a small file, None where there is no file; raise ValueError for a text that is none."""
    text = read_text(path)
    return None if text is None else finite(text)


def scaled(number: Optional[float], factor: float) -> Optional[float]:
    """Return a number in another unit, None for none."""
    return None if number is None else number * factor


def finite(text: str) -> float:
    """Return the number that a text says; raise ValueError for another text, NaN and infinity."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a finite number: %r" % text[:40])
    return value


def number_in(values: Any, *keys: str) -> Optional[float]:
    """Return the number at a path of keys in any JSON value, None where there is none."""
    found = value_in(values, *keys)
    return float(found) if _is_number(found) else None


def texts_in(values: Any, *keys: str) -> List[str]:
    """Return the texts of the list at a path of keys in any JSON value."""
    found = value_in(values, *keys)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def numbers_in(values: Any, *keys: str) -> Dict[str, float]:
    """Return the numbers by name of the object at a path of keys in any JSON value."""
    found = value_in(values, *keys)
    return {str(key): float(item) for key, item in found.items() if _is_number(item)} if isinstance(found, dict) else {}


def value_in(values: Any, *keys: str) -> Any:
    """Return what stands at a path of keys in any JSON value, None where the path ends before."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _is_number(value: Any) -> bool:
    """Say whether arithmetic with a foreign value is safe: no bool, no integer beyond what a float holds."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _natural(path: str) -> List[Tuple[int, str]]:
    parts = re.split("([0-9]+)", path)
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)]
