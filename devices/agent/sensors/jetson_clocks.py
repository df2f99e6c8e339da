"""Clocks of a Jetson, their limits, and whether they are locked."""

import os
import re
from typing import Any, Dict, List, Optional, Tuple

from ._base import SensorUnavailable, value_in
from ._command import find, run

SLOW = True

#: A shell script that starts dozens of programs.
_TIMEOUT_S = 5.0
_FIELD = re.compile(r"(\w{1,40})=(\S{0,40})")
_NAME = re.compile(r"\s*(cpu\d{1,3}|[A-Z][A-Z0-9_]{1,30}):?\s")
_CLOCKS = {"MinFreq": "min_hz", "MaxFreq": "max_hz", "CurrentFreq": "current_hz"}


def read() -> Dict[str, Any]:
    """Return what `parse` returns; raise SensorUnavailable without jetson_clocks or the right to run it."""
    command = [find("jetson_clocks"), "--show"]
    return parse(run(command if os.geteuid() == 0 else ["sudo", "-n"] + command, _TIMEOUT_S).text)


def parse(text: str) -> Dict[str, Any]:
    """Return cpus and other clocks with min_hz, max_hz and current_hz, and whether CPU and GPU are locked.

    Locked means that minimum and maximum of every core online and of the GPU are the same; memory does not count,
    since it is locked by an override (`emc_override`) that leaves its limits as they are. Raise SensorUnavailable for
    the answer to those who may not ask, ValueError for another form.
    """
    if "as a root user" in text or text.lstrip().startswith("sudo:"):
        raise SensorUnavailable("jetson_clocks --show needs root: allow it in sudoers")
    cpus: Dict[str, Any] = {}
    others: Dict[str, Any] = {}
    override: Optional[bool] = None
    for line in text.splitlines():
        name, fields = _NAME.match(line), dict(_FIELD.findall(line))
        if name and set(_CLOCKS) <= set(fields):
            is_cpu = name.group(1).startswith("cpu")
            (cpus if is_cpu else others)[name.group(1)] = _clock(fields, 1e3 if is_cpu else 1.0)
            if name.group(1) == "EMC" and fields.get("FreqOverride") in ("0", "1"):
                override = fields["FreqOverride"] == "1"
    if not cpus:
        raise ValueError("not the form of jetson_clocks --show: %r" % text[:120])
    return {"locked": _is_locked(cpus, others), "cpus": cpus, "clocks": others, "emc_override": override}


def identity(values: Any) -> Dict[str, Any]:
    """Return whether clocks are locked, and the limits of every clock."""
    found: Dict[str, Any] = {"locked": value_in(values, "locked"), "emc_override": value_in(values, "emc_override")}
    for group in ("cpus", "clocks"):
        clocks = value_in(values, group)
        for name, clock in sorted(clocks.items()) if isinstance(clocks, dict) else []:
            found[name] = [value_in(clock, "min_hz"), value_in(clock, "max_hz")]
    return found


def advice(values: Any) -> Optional[Tuple[bool, str, str]]:
    """Return whether the clocks are locked."""
    if value_in(values, "locked") is True:
        return True, "clocks are locked", ""
    return True, "clocks are not locked", "for steadier clocks: doctor --fix clocks"


def _clock(fields: Dict[str, str], factor: float) -> Dict[str, Any]:
    """Older scripts say `Gonvernor`, newer ones no longer say `Online`, as those offline are not listed any more."""
    found: Dict[str, Any] = {name: int(fields[key]) * factor for key, name in _CLOCKS.items()}
    if factor != 1.0:
        found["online"] = fields.get("Online", "1") == "1"
        found["governor"] = fields.get("Governor", fields.get("Gonvernor"))
    return found


def _is_locked(cpus: Dict[str, Any], others: Dict[str, Any]) -> bool:
    judged: List[Any] = [cpu for cpu in cpus.values() if cpu["online"]]
    judged += [clock for name, clock in others.items() if name.startswith("GP")]
    return bool(judged) and all(clock["min_hz"] == clock["max_hz"] for clock in judged)
