"""What a report can be about: a run, a study or a comparison of the workspace."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from hilnas.errors import BadFile, UnknownName
from hilnas.records import Measurement
from profiler._campaign import result
from profiler._workspace import Workspace
from reports._lines import line_chart
from reports._page import Section, page, sections_of
from reports._points import point_chart
from reports._pruned import pruned_charts
from searchers._curves import study_curves
from searchers._search_curves import EPOCHS, epoch_curves, lookup_graphs

_MAX_BYTES = 64 * 2**20
#: What the values of a chart are counted in, where those are no evaluations.
_UNITS = dict.fromkeys(EPOCHS, "epochs")
_FOLDERS = {"studies": "study", "comparisons": "comparison"}


def report_page(workspace: Workspace, name: str) -> str:
    """Return the HTML report of a run, a study or a comparison; raise UnknownName for another name."""
    for folder, noun in _FOLDERS.items():
        if name in _names(workspace, folder):
            values = _read(workspace, folder, name)
            charts = _charts(workspace, name, values) if folder == "studies" else []
            facts, sections = sections_of(_without_history(values))
            return page(f"{noun} {name}", facts, sections, charts)
    run_ids = [row.run_id for row in workspace.store.campaigns()]
    if name in run_ids or (name == "last" and run_ids):
        return _run_page(workspace, workspace.store.campaign(name).run_id)
    known = [*run_ids, *(item for folder in _FOLDERS for item in _names(workspace, folder))]
    raise UnknownName("run, study or comparison", name, known, "List the runs with: hilnas runs list")


def _charts(workspace: Workspace, study_id: str, values: dict[str, Any]) -> list[str]:
    """Return how a study went; nothing where its evaluations are not there."""
    if not (workspace.path / "studies" / f"{study_id}.jsonl").exists():
        return []
    curves = {**epoch_curves(values), **study_curves(workspace, study_id)}
    drawn = [point_chart(*graph) for graph in lookup_graphs(values)] + pruned_charts(values)
    return drawn + [line_chart(title, lines, _UNITS.get(title, "evaluations")) for title, lines in curves.items()]


def _without_history(values: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what each search reported on its way: that is drawn."""
    if "searches" not in values:
        return values
    return {**values, "searches": [{k: v for k, v in item.items() if k != "history"} for item in values["searches"]]}


def _run_page(workspace: Workspace, run_id: str) -> str:
    row = workspace.store.campaign(run_id)
    done = result(workspace, run_id)
    causes = [{"workload": name, "cause": cause} for name, cause in done.summary.causes.items()]
    facts = {key.replace("_", " "): value for key, value in asdict(done.summary).items() if key != "causes"}
    environment = sections_of({"environment": workspace.store.environment_facts(row.environment)})[1]
    protocol = [{"": key, "value": value} for key, value in row.protocol.to_json().items()]
    sections = [
        Section("measurements", [_measurement(item) for item in done.measurements]),
        Section("rejected and failed", causes),
        *environment,
        Section("protocol", protocol),
    ]
    return page(f"run {run_id} on {row.device}", {"created": row.created_at, "seed": row.seed, **facts}, sections)


def _measurement(measurement: Measurement) -> dict[str, Any]:
    """Return what a reader looks for first; the long names stand last."""
    values = {
        f"{name} ms": None if seconds is None else seconds * 1e3
        for name, seconds in (
            ("latency", measurement.latency_s),
            ("lower", measurement.lower_s),
            ("upper", measurement.upper_s),
        )
    }
    row = {"status": measurement.status, **values, "invocations": measurement.invocations}
    return {**row, "workload": measurement.workload.name, "cause": measurement.cause or ""}


def _names(workspace: Workspace, folder: str) -> list[str]:
    return sorted(path.stem for path in (workspace.path / folder).glob("*.json"))


def _read(workspace: Workspace, folder: str, name: str) -> dict[str, Any]:
    path = workspace.path / folder / f"{name}.json"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadFile(f"{path} is too large for a report")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise BadFile(f"{path} holds no object")
    return values
