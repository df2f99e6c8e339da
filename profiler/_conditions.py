"""What a machine was like while it was measured, and what was different another time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from profiler._database import Database

#: The sensor values that are compared, and by how much they may differ.
_CLOCKS = ("current_hz", "clock_hz", "clocks_hz", "arm_hz", "sm_clock_hz")
_TEMPERATURES = ("max_celsius", "temperature_celsius")
_CLOCK_SHARE = 0.02
_DEGREES = 10.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """Facts of the environment by dotted name, and medians of clocks (Hz) and temperatures (Celsius) by sensor."""

    facts: Mapping[str, str]
    readings: Mapping[str, float]

    def __str__(self) -> str:
        return ", ".join(f"{name} {_shown(name, value)}" for name, value in sorted(self.readings.items()))


def differences(before: Conditions, after: Conditions) -> list[str]:
    """Return what differs enough to matter, as texts: facts that changed, clocks by 2 %, temperatures by 10 degrees."""
    names = sorted(before.facts.keys() | after.facts.keys())
    found = [
        f"{name}: {before.facts.get(name, 'none')} -> {after.facts.get(name, 'none')}"
        for name in names
        if before.facts.get(name) != after.facts.get(name)
    ]
    for name in sorted(before.readings.keys() & after.readings.keys()):
        old, new = before.readings[name], after.readings[name]
        if abs(new - old) > (_CLOCK_SHARE * old if name.endswith("_hz") else _DEGREES):
            found.append(f"{name}: {_shown(name, old)} -> {_shown(name, new)}")
    return found


def _shown(name: str, value: float) -> str:
    return f"{value / 1e9:.2f} GHz" if name.endswith("_hz") else f"{value:.0f} C"


class ConditionRecords:
    """Reading the conditions of campaigns."""

    database: Database

    def conditions(self, run_ids: Sequence[str], workload: str | None = None) -> Conditions:
        """Return the conditions of campaigns, or of one workload (its key) in them; the newest one's facts count."""
        facts: dict[str, str] = {}
        values: dict[str, list[float]] = defaultdict(list)
        for run_id in run_ids:
            rows = self.database.read(
                "SELECT e.facts FROM campaigns c JOIN environments e ON e.key = c.environment WHERE c.run_id = ?",
                (run_id,),
            )
            facts |= {name: text for row in rows for name, text in _flat(json.loads(row["facts"]))}
            for row in self.database.read(
                "SELECT state FROM invocations WHERE run_id = ? AND role = 'workload' AND status = 'ok'"
                " AND purpose = 'latency' AND (? IS NULL OR workload = ?)",
                (run_id, workload, workload),
            ):
                for name, value in _readings(json.loads(row["state"])):
                    values[name].append(value)
        return Conditions(facts, {name: median(found) for name, found in values.items()})


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every leaf of a JSON value with its dotted name; a list is a leaf."""
    if not isinstance(value, dict):
        yield name, value if isinstance(value, str) else json.dumps(value)
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{name}.{key}" if name else str(key))


def _readings(state: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield sensor.name -> the middle of its clocks or its temperature, as it was after the timed calls."""
    after = state.get("after")
    for sensor, values in (after if isinstance(after, dict) else {}).items():
        for name, value in _flat_values(values):
            if name not in (*_CLOCKS, *_TEMPERATURES):
                continue
            numbers = [float(item) for item in (value if isinstance(value, list) else [value]) if _is_number(item)]
            if numbers:
                yield f"{sensor}.{name}", median(numbers)


def _flat_values(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the last name and the value of every leaf."""
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat_values(inner)
        else:
            yield str(key), inner


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
