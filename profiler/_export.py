"""Measurements as rows for other programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hilnas.records import Measurement


def measurement_row(measurement: Measurement) -> dict[str, Any]:
    """Return one measurement as a flat row; times in seconds."""
    workload = measurement.workload
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
        "input_shape": "x".join(map(str, workload.input_shape)),
        "dtype": workload.dtype,
        "workload": workload.key,
    }


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a header, empty cells for what is missing; nothing for no rows."""
    if not rows:
        return ""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def as_jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
