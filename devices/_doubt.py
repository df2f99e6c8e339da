"""The judgement of a device's state: whether what was measured between two readings of its sensors can be trusted.

Both readings come from the device and are untrusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from devices.agent import _plugins

#: Others may use the cores we leave free, and at least this much of one: one busy neighbour moves the median of a
#: single thread by less than 1 %, one that shares our core by much more.
_MIN_FOREIGN_CORES = 0.5
#: The hypervisor took more than this many cores while we timed.
_MAX_STOLEN_CORES = 0.1
#: A single thread that computes is off its core for more than this share of the time: it was pushed off.
_MAX_PREEMPTED = 0.05
#: An invocation whose own median is known less well was disturbed for part of its time.
_MAX_HALF_WIDTH = 0.05
#: What the clock of /proc/stat cannot resolve in a short invocation (ticks of 10 ms on each side).
_TICK_SLACK_S = 0.04

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Worked:
    """What an invocation used: warm-up and timed calls, its CPU time in them, and all of it from outside."""

    busy_s: float
    cpu_s: float
    elapsed_s: float
    threads: int
    usable_cpus: float
    #: Half the interval of the median of its blocks, relative; 0 where there were too few blocks.
    half_width: float = 0.0


def doubt(before: State, after: State, worked: Worked) -> str | None:
    """Return why samples taken between two readings of the sensors are doubtful, None when nothing speaks against."""
    return _sensors_doubt(before, after) or _load_doubt(before, after, worked) or _unsteady(worked)


def _unsteady(worked: Worked) -> str | None:
    if worked.half_width <= _MAX_HALF_WIDTH:
        return None
    return f"unsteady: the median of its blocks is known to ± {worked.half_width:.0%} only"


def identity(state: State) -> dict[str, Any]:
    """Return what of a state must be equal before measurements may be put together, by sensor."""
    found = {}
    for name, function in _functions("identity"):
        if _was_read(state, name):
            found[name] = function(state[name])
    return found


def advice(state: State) -> list[tuple[str, bool, str, str]]:
    """Return (sensor, ok, found, remedy) for what the sensors have to say to a doctor."""
    found = []
    for name, function in _functions("advice"):
        said = function(state[name]) if _was_read(state, name) else None
        if said is not None:
            found.append((name, *said))
    return found


def _sensors_doubt(before: State, after: State) -> str | None:
    for name in after:
        if isinstance(after[name], dict) and "error" in after[name]:
            return f"sensor {name} cannot be read: {after[name]['error']}"
    for name, function in _functions("doubt"):
        if _was_read(before, name) and _was_read(after, name):
            found = function(before[name], after[name])
            if found is not None:
                return str(found)
    return None


def _functions(kind: str) -> list[tuple[str, Callable[..., Any]]]:
    modules = ((name, _plugins.load("sensors", name)) for name in _plugins.names("sensors"))
    return [(name, getattr(module, kind)) for name, module in modules if hasattr(module, kind)]


def _was_read(state: State, name: str) -> bool:
    values = state.get(name)
    return isinstance(values, dict) and not {"unavailable", "error"} & set(values)


def _load_doubt(before: State, after: State, worked: Worked) -> str | None:
    preempted = 1 - worked.cpu_s / worked.busy_s if worked.threads == 1 and worked.busy_s > 0 else 0.0
    if preempted > _MAX_PREEMPTED:
        return f"contended: the worker was off its core for {preempted:.0%} of the time"
    wall_s = _number(after.get("monotonic_s")) - _number(before.get("monotonic_s"))
    if not wall_s > 0:
        return None
    stolen_s = _difference(before, after, "cpu_load", "stolen_s")
    if stolen_s > _MAX_STOLEN_CORES * wall_s + _TICK_SLACK_S:
        return f"contended: the hypervisor took {stolen_s / wall_s:.2f} cores"
    # What the worker used outside the timed part (load, first run) is ours as well.
    own_s = worked.cpu_s + (worked.elapsed_s - worked.busy_s)
    foreign_s = _difference(before, after, "cpu_load", "busy_s") - own_s
    if foreign_s > max(_MIN_FOREIGN_CORES, worked.usable_cpus - worked.threads) * wall_s + _TICK_SLACK_S:
        return f"contended: other processes used {foreign_s / wall_s:.2f} cores"
    return None


def _difference(before: State, after: State, sensor: str, name: str) -> float:
    if not (_was_read(before, sensor) and _was_read(after, sensor)):
        return 0.0
    found = _number(after[sensor].get(name)) - _number(before[sensor].get(name))
    return found if math.isfinite(found) else 0.0


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if abs(value) < 1e300 else math.nan
