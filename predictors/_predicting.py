"""`hilnas predict`: what a saved predictor says of architectures, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hilnas.records import Architecture, Measurement
from predictors._registry import load_fitted, saved_names
from predictors._samples import check_device, is_table
from profiler._plan import architecture_workload
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace


def predict_device(
    workspace: Workspace,
    space: SearchSpace,
    device: str,
    architectures: Sequence[Architecture],
    name: str | None = None,
    configs: Path | None = None,
) -> tuple[str, list[dict[str, Any]]]:
    """Return the predictor's name and one row an architecture.

    `mean_s`, `lower_s`, `upper_s` are the predictor's; `measured_s` with its interval is what the records say, None
    where they say nothing. `provenance` is `measured` where they do, else where the prediction comes from.
    """
    if not saved_names(workspace, device, space):
        check_device(workspace, device, configs)
    fitted = load_fitted(workspace, device, space, name)
    measured = _table_values(workspace, device) if is_table(device) else _measurements(workspace, device, space)
    rows = []
    for architecture, guess in zip(architectures, fitted.predict(architectures), strict=True):
        found = measured.get(_key(space, device, architecture))
        value_s, lower_s, upper_s = found or (None, None, None)
        rows.append(
            {
                "architecture": architecture.text,
                "mean_s": guess.mean_s,
                "lower_s": guess.lower_s,
                "upper_s": guess.upper_s,
                "provenance": guess.provenance if found is None else "measured",
                "predicted_from": guess.provenance,
                "measured_s": value_s,
                "measured_lower_s": lower_s,
                "measured_upper_s": upper_s,
            }
        )
    return fitted.name, rows


_Interval = tuple[float | None, float | None, float | None]


def _key(space: SearchSpace, device: str, architecture: Architecture) -> str:
    return architecture.text if is_table(device) else architecture_workload(space, architecture).key


def _table_values(workspace: Workspace, device: str) -> dict[str, _Interval]:
    return {text: (value, None, None) for text, value in workspace.store.column_at(device).values.items()}


def _measurements(workspace: Workspace, device: str, space: SearchSpace) -> dict[str, _Interval]:
    found: list[Measurement] = workspace.store.measurements(device, space=space.name)
    return {item.workload.key: (item.latency_s, item.lower_s, item.upper_s) for item in found if item.status == "ok"}
