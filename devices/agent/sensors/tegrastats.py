"""One line of a Jetson's tegrastats: memory, cores, engines, temperatures and rails.

The line has grown from release to release, so it is taken apart token by token; what is not understood is kept as
`unknown` and never dropped in silence.
"""

import re
from typing import Any, Dict, List

from ._base import SensorUnavailable as SensorUnavailable
from ._command import run
from ._rails import total
from .temperature import is_measured

SLOW = True

_TOKEN = re.compile(r"\([^)]{0,100}\)|\[[^\]]{0,2000}\]|[^\s\[(]{1,100}(?:\[[^\]]{0,200}\])?")
_DATE = re.compile(r"\s*\d\d-\d\d-\d{4} \d\d:\d\d:\d\d\s")
_NAME = re.compile(r"[A-Za-z]\w{0,40}$")
_ZONE = re.compile(r"(\w{1,40})@(-?\d{1,4}(?:\.\d{1,6})?)C(?:/[-\d.C/]{1,40})?$")
_MEMORY = re.compile(r"(\d{1,9})/(\d{1,9})([kM])B$")
_BLOCKS = re.compile(r"\((?:lfb|cached) (?:(\d{1,9})x)?(\d{1,9})([kM])B\)$")
_RAIL = re.compile(r"(\d{1,9})(?:mW)?(?:/\d{1,9}(?:mW)?){1,2}$")
_CPU = re.compile(r"(\d{1,3})%(?:@(\d{1,6}))?$")
_ENGINE = re.compile(r"(?:(\d{1,3})%)?(?:@(?:(\d{1,6})|\[([\d,]{1,200})\]))?$")
_CLOCK = re.compile(r"\d{1,6}$")
_BYTES = {"k": 1 << 10, "M": 1 << 20}
#: Stands before two engines of its own, `MTS fg 0% bg 0%`.
_HEADINGS = ("MTS",)


def read() -> Dict[str, Any]:
    """Return the first line, read as `parse` does; the program and whatever it started are ended."""
    return parse(run(["tegrastats", "--interval", "100"], first_line=True).text.partition("\n")[0])


def parse(line: str) -> Dict[str, Any]:
    """Return memory in bytes, cpus (None: off), engines with load (0 to 1) and clocks, zones and rails of one line.

    Of the values of a rail only the first counts: the second is the mean, the third the peak since tegrastats began.
    Raise ValueError for a line without RAM and CPU.
    """
    found: Dict[str, Any] = {"memory": {}, "cpus": [], "engines": {}, "zones_celsius": {}, "rails_w": {}, "unknown": []}
    tokens = _TOKEN.findall(_DATE.sub("", line, 1))
    while tokens:
        tokens = tokens[_take(tokens, found) :]
    if "RAM" not in found["memory"] or not found["cpus"]:
        raise ValueError("not a line of tegrastats: %r" % line[:120])
    return dict(total(found["rails_w"]), **found)


def _take(tokens: List[str], found: Dict[str, Any]) -> int:
    """Put what the first tokens say into `found`, and return how many of them that were."""
    zone = _ZONE.match(tokens[0])
    if zone:
        if is_measured(zone.group(1), float(zone.group(2))):
            found["zones_celsius"][zone.group(1)] = float(zone.group(2))
        return 1
    name, value = tokens[0], tokens[1] if len(tokens) > 1 else ""
    if _NAME.match(name) and value:
        memory, rail = _MEMORY.match(value), _RAIL.match(value)
        if memory:
            blocks = _BLOCKS.match(tokens[2]) if len(tokens) > 2 else None
            found["memory"][name] = _memory(memory, blocks)
            return 3 if blocks else 2
        if name == "CPU" and value.startswith("["):
            found["cpus"] = [_cpu(entry.strip()) for entry in value[1:-1].split(",")]
            return 2
        if rail:
            if name != "NC":
                found["rails_w"][name] = int(rail.group(1)) * 1e-3
            return 2
        if value == "off" or _CLOCK.match(value) or _ENGINE.match(value):
            found["engines"][name] = _engine(value)
            return 2
    if name not in _HEADINGS:
        found["unknown"].append(name)
    return 1


def _memory(used: Any, blocks: Any) -> Dict[str, Any]:
    unit = _BYTES[used.group(3)]
    found = {"used_bytes": int(used.group(1)) * unit, "total_bytes": int(used.group(2)) * unit}
    if not blocks:
        return found
    size = int(blocks.group(2)) * _BYTES[blocks.group(3)]
    if blocks.group(0).startswith("(cached"):
        return dict(found, cached_bytes=size)
    return dict(found, largest_free_block_bytes=size, free_blocks=int(blocks.group(1) or 1))


def _cpu(entry: str) -> Any:
    if entry == "off":
        return None
    found = _CPU.match(entry)
    if not found:
        raise ValueError("not a core of tegrastats: %r" % entry[:40])
    clock = found.group(2)
    return {"load": int(found.group(1)) / 100, "clock_hz": int(clock) * 1e6 if clock else None}


def _engine(value: str) -> Dict[str, Any]:
    """Return load and clocks; an engine that is off has neither, and not every form tells both."""
    if value == "off":
        return {"load": None, "clocks_hz": [], "off": True}
    if _CLOCK.match(value):
        return {"load": None, "clocks_hz": [int(value) * 1e6]}
    found = _ENGINE.match(value)
    load, clock, several = found.groups() if found else (None, None, None)
    clocks = [item for item in (clock or several or "").split(",") if item]
    return {"load": None if load is None else int(load) / 100, "clocks_hz": [int(item) * 1e6 for item in clocks]}
