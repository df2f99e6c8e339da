"""What the benchmark of RADARS has found, as charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports._points import Point, point_chart


def _fronts(values: Mapping[str, Any]) -> dict[str, list[Point]]:
    return {
        name: [(cost / 1e6, error) for row in values["rows"] for error, cost in row["methods"][name]["front"]]
        for name in values["rows"][0]["methods"]
    }


def _accuracies(values: Mapping[str, Any]) -> dict[str, list[Point]]:
    known = [item for item in values["searches"] if item["accuracy"] is not None]
    return {"radars": [(values["whole_bytes"] / item["share"] / 2**20, item["accuracy"]) for item in known]}


def _memories(values: Mapping[str, Any]) -> dict[str, list[Point]]:
    rows = list(enumerate(values["rows"], start=1))
    names = [f"{name}_{what}_bytes" for name in ("dnas", "radars") for what in ("predicted", "peak")]
    return {name: [(float(number), row[name] / 2**20) for number, row in rows if row[name]] for name in names}


#: Of a part: the title of its chart, its axes, and its points.
CHARTS = {
    "game": ("Networks known when RADARS ended", ("10⁶ AOPS", "error, %"), _fronts),
    "bounds": ("RADARS under bounds", ("bound, MiB", "accuracy, %"), _accuracies),
    "types": ("Memory as more is searched", ("kinds of decisions", "MiB"), _memories),
}


def drawn(values: Mapping[str, Any]) -> str:
    """Return the chart of a part as SVG."""
    title, axes, points = CHARTS[values["part"]]
    chart = point_chart(title, axes, {name: own for name, own in points(values).items() if own})
    return chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
