"""Measurements as rows: for other programs (CSV, JSON Lines) and for the screen."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from hilnas.records import Measurement
from hilnas.units import format_seconds, format_value
from profiler._layers import LayerProfile
from profiler._metrics import Recorded, dimension_of, metric_of, name_of


def measurement_row(measurement: Measurement, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return one measurement as a flat row in SI; `names` are the metrics beside latency that get a column.

    What is not available is None, and the reasons stand in `not_available`.
    """
    workload = measurement.workload
    metrics = {name: measurement.metrics.get(name) for name in names}
    reasons = [f"{name}: {item.cause}" for name, item in metrics.items() if item is not None and item.cause]
    return {
        "architecture": workload.name,
        "kind": workload.kind,
        "status": measurement.status,
        "latency_s": measurement.latency_s,
        "lower_s": measurement.lower_s,
        "upper_s": measurement.upper_s,
        "confidence": measurement.confidence,
        "relative_half_width": measurement.relative_half_width,
        "invocations": measurement.invocations,
        "cause": measurement.cause,
        **{name: None if item is None else item.value for name, item in metrics.items()},
        **_of_energy(measurement, names),
        "not_available": "; ".join(reasons) or None,
        "input_shape": "x".join(map(str, workload.input_shape)),
        "dtype": workload.dtype,
        "workload": workload.key,
    }


def _of_energy(measurement: Measurement, names: Sequence[str]) -> dict[str, Any]:
    """Return two columns beside energy: how sure the sensor is, and what it sees."""
    if "energy_j" not in names:
        return {}
    found = measurement.metrics.get("energy_j")
    return {
        "energy_uncertainty_j": found.uncertainty if found else None,
        "energy_scope": found.scope if found else None,
    }


def measurement_rows(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return one row a workload, all with the same columns: one for every metric that any of them has."""
    names = metric_names(measurements)
    return [measurement_row(item, names) for item in measurements]


def metric_names(measurements: Sequence[Measurement]) -> list[str]:
    """Return the metrics beside latency that any measurement has: those of the registry first, then other readings."""
    names = {name for item in measurements for name in item.metrics}
    return sorted(names, key=lambda name: (metric_of(name) is None, name))


def jsonl_rows(
    measurements: Sequence[Measurement],
    recorded: Mapping[str, Sequence[Recorded]],
    profiles: Sequence[LayerProfile],
) -> list[dict[str, Any]]:
    """Return one object a workload: its row, every invocation with its raw readings, the profile of its layers."""
    layers = {profile.workload.key: profile.to_json() for profile in profiles}
    return [
        {
            **row,
            "recorded": [_invocation(entry) for entry in recorded.get(item.workload.key, ())],
            "layers": layers.get(item.workload.key),
        }
        for item, row in zip(measurements, measurement_rows(measurements), strict=True)
    ]


def layer_rows(profiles: Sequence[LayerProfile]) -> list[dict[str, Any]]:
    """Return one row a layer, of all workloads."""
    return [{"architecture": profile.workload.name, **row} for profile in profiles for row in profile.rows()]


def metric_summary(measurements: Sequence[Measurement]) -> dict[str, dict[str, Any]]:
    """Return by stored name what a run has of each metric: dimension, direction, workloads, median, scope, why n/a."""
    found = {}
    for name in metric_names(measurements):
        having = [item.metrics[name] for item in measurements if name in item.metrics]
        values = [item.value for item in having if item.value is not None]
        metric = metric_of(name)
        found[name] = {
            "dimension": dimension_of(name),
            "direction": metric.direction if metric else None,
            "workloads": len(values),
            "median": median(values) if values else None,
            "scope": next((item.scope for item in having if item.scope), None),
            "not_available": next((item.cause for item in having if item.cause), None),
        }
    return found


def shown_summary(measurements: Sequence[Measurement]) -> list[tuple[str, str, int, str]]:
    """Return for people: metric, median, workloads that have it, why others have not, else the scope."""
    return [
        (
            name_of(name),
            "n/a" if item["median"] is None else format_value(item["median"], item["dimension"]),
            item["workloads"],
            item["not_available"] or item["scope"] or "",
        )
        for name, item in metric_summary(measurements).items()
        if metric_of(name) is not None
    ]


def shown_rows(measurements: Sequence[Measurement]) -> tuple[list[str], list[list[object]]]:
    """Return columns and rows for people: latency and every registered metric that any workload has, with units."""
    names = [name for name in metric_names(measurements) if metric_of(name) is not None]
    columns = ["architecture", "status", "latency", "±", *[name_of(name) for name in names], "invocations", "cause"]
    return columns, [_shown(item, names) for item in measurements]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a header, empty cells for what is missing; nothing for no rows."""
    if not rows:
        return ""
    return "".join(map(_csv_line, [list(rows[0]), *(list(row.values()) for row in rows)]))


def _csv_line(values: Sequence[object]) -> str:
    """Return one line; the writer quotes what is part of its line end, so a lone carriage return only with both."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(values)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def as_jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def _invocation(entry: Recorded) -> dict[str, Any]:
    values = {key: item for key, item in asdict(entry).items() if key != "facts"}
    energy = entry.facts.get("energy")
    return {**values, "energy": energy} if energy else values


def _shown(item: Measurement, names: Sequence[str]) -> list[object]:
    half = item.relative_half_width
    shown: list[object] = [item.workload.name, item.status]
    shown.append(None if item.latency_s is None else format_seconds(item.latency_s))
    shown.append(None if half is None else f"{half:.1%}")
    for name in names:
        found = item.metrics.get(name)
        value = None if found is None else found.value
        shown.append(None if value is None else format_value(value, dimension_of(name)))
    return [*shown, item.invocations, item.cause]
