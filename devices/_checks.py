"""The fingerprint and the lines of the doctor that every device with an agent has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devices._base import Check
from devices._doubt import advice, identity
from devices._untrusted import Answer
from hilnas.records import Environment

#: What cannot be judged where none of these sensors can be read.
_WANTED = {
    "clock changes cannot be seen": ("cpu_clock",),
    "heat cannot be seen": ("temperature",),
    "throttling cannot be seen": ("throttle", "pi_throttle", "over_current"),
    "foreign load cannot be seen": ("cpu_load",),
}
#: Sensors that tell energy or power of what is measured.
ENERGY_SENSORS = ("command", "ina3221", "pi_pmic", "rapl", "nvml")


def fingerprint_of(host: Mapping[str, Any], probed: Answer, options: Mapping[str, Any]) -> Environment:
    """Return the environment of a machine by what its agent says: host, runtime, options, steady state."""
    state = identity(probed.state)
    return Environment({"host": dict(host), "runtime": probed.runtime, "options": dict(options), "state": state})


def agent_checks(environment: Environment, state: Mapping[str, Any]) -> list[Check]:
    """Return agent, runtime, and what the sensors have to say about the machine's readiness."""
    host, runtime = environment.facts["host"], environment.facts["runtime"]
    found = [
        Check("agent", True, f"Python {host.get('python')} on {host.get('machine')}"),
        Check("runtime", True, f"{runtime.get('name')} {runtime.get('version')}"),
    ]
    if host.get("virtual"):
        remedy = "local_cpu waits for their full pace; others do with pace_wait_s = 20 under [measuring] of the config"
        found.append(Check("machine", True, "virtual: others may slow its cores down unseen", remedy))
    said = {name: Check(name, ok, text, remedy) for name, ok, text, remedy in advice(state)}
    for name, values in sorted(state.items()):
        check = said.get(name) or _sensor_check(name, values, host.get("cpus"))
        if check is not None:
            found.append(check)
    return [*found, *_missing(state), _energy_check(state)]


def _energy_check(state: Mapping[str, Any]) -> Check:
    """Return which sensors can tell what an inference takes, or that none can."""
    found = [name for name in ENERGY_SENSORS if {"power_w", "zones", "energy_j"} & set(_known(state.get(name)))]
    if found:
        return Check("energy", True, f"can be measured by {', '.join(found)}")
    said = (state.get(name) for name in ENERGY_SENSORS)
    reasons = [str(values["unavailable"]) for values in said if isinstance(values, dict) and "unavailable" in values]
    remedy = "nothing to do; energy is n/a. With an external meter: [meter] argv = [program, ...]"
    return Check("energy", True, f"n/a: {'; '.join(reasons)}"[:300], remedy)


def _known(values: object) -> list[str]:
    """Return the names of what a sensor really says."""
    return [name for name, value in values.items() if value is not None] if isinstance(values, dict) else []


def _missing(state: Mapping[str, Any]) -> list[Check]:
    found = []
    for what, names in _WANTED.items():
        readings = [state.get(name, {}) for name in names]
        reasons = [str(item.get("unavailable", "not read")) for item in readings if isinstance(item, dict)]
        if all("unavailable" in item or not item for item in readings):
            found.append(Check(names[0], True, f"n/a: {reasons[0]}", f"nothing to do; {what}"))
    return found


def _sensor_check(name: str, values: object, cpus: object) -> Check | None:
    if not isinstance(values, dict):
        return None
    if "error" in values:
        return Check(name, False, str(values["error"]), "its output has an unknown form: what is measured is doubted")
    if "unavailable" in values:
        return None
    load = values.get("load_1min")
    if isinstance(load, float) and isinstance(cpus, int) and load > 0.5 * max(1, cpus):
        return Check(name, False, f"load {load:.2f}", "stop other programs before you measure")
    governors = values.get("governors")
    if isinstance(governors, list) and governors and governors != ["performance"]:
        return Check(
            name, True, f"governor {', '.join(map(str, governors))}", "for steadier clocks: doctor --fix governor"
        )
    return Check(name, True, ", ".join(f"{key}={_short(item)}" for key, item in values.items())[:200])


def _short(item: object) -> str:
    if isinstance(item, dict) and any(isinstance(value, dict) for value in item.values()):
        return f"{len(item)} readings"
    if isinstance(item, dict):
        return " ".join(f"{key} {_short(value)}" for key, value in item.items())
    return f"{item:.4g}" if isinstance(item, float) else str(item)
