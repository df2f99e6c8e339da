"""`hilnas runs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hilnas.cli import Settings
from hilnas.output import answer, json_option, show_json, show_table

if TYPE_CHECKING:
    from profiler._campaign import CampaignResult


@click.group()
def runs() -> None:
    """List, show, resume and export campaigns.

    \b
    Example:
      hilnas runs export last --format csv > measured.csv
    """


@runs.command("list")
@json_option
@click.pass_obj
def runs_list(settings: Settings, as_json: bool) -> None:
    """List all runs, newest last.

    \b
    Example:
      hilnas runs list --json
    """
    from profiler._campaign import result
    from profiler._workspace import Workspace

    with Workspace.open(settings.workspace) as workspace:
        rows = [_run_row(row, result(workspace, row.run_id)) for row in workspace.store.campaigns()]
    if as_json:
        show_json(answer({"runs": rows}))
        return
    columns = ("run_id", "device", "space", "state", "workloads", "ok", "rejected", "failed", "pending", "elapsed_s")
    show_table(columns, [[row[name] for name in columns] for row in rows])


@runs.command("show")
@click.argument("run_id")
@json_option
@click.pass_obj
def runs_show(settings: Settings, run_id: str, as_json: bool) -> None:
    """Show what a run has measured (`last`: the newest).

    \b
    Example:
      hilnas runs show last
    """
    from dataclasses import asdict

    from profiler._campaign import result
    from profiler._export import measurement_rows, metric_summary, shown_rows
    from profiler._shown import show_layers, show_summary
    from profiler._workspace import Workspace

    with Workspace.open(settings.workspace) as workspace:
        row = workspace.store.campaign(run_id)
        done = result(workspace, row.run_id)
        facts = workspace.store.environment_facts(row.environment)
        events = workspace.store.events(row.run_id)
        timelines = workspace.store.timelines(row.run_id)
        profiles = workspace.store.layer_profiles(row.run_id)
    if as_json:
        found = {
            "space": row.space,
            "environment": facts,
            "measurements": measurement_rows(done.measurements),
            "metrics": metric_summary(done.measurements),
            "layers": [profile.to_json() for profile in profiles],
            "events": events,
            "timelines": timelines,
        }
        show_json(answer({**asdict(done.summary), **found}, row.seed))
        return
    show_summary(done)
    show_table(*shown_rows(done.measurements))
    show_layers(profiles)
    if events:
        show_table(("at", "event", "what"), [(item["at"], item["kind"], item["text"]) for item in events])
    for name, timeline in timelines.items():
        show_table((f"{name}: from", "median_s"), [(f"{item['t_s']:.0f} s", item["median_s"]) for item in timeline])


@runs.command("resume")
@click.argument("run_id")
@click.option("--wait", metavar="TIME", default="0s", help="Wait so long for a device that somebody else uses.")
@json_option
@click.pass_obj
def runs_resume(settings: Settings, run_id: str, wait: str, as_json: bool) -> None:
    """Continue a run that was stopped (`last`: the newest); nothing is measured twice.

    \b
    Example:
      hilnas runs resume last --json
    """
    from hilnas.units import parse_quantity
    from profiler._campaign import resume
    from profiler._progress import progress_bar
    from profiler._shown import show_campaign
    from profiler._workspace import Workspace

    wait_s = parse_quantity(wait, "time")
    with Workspace.open(settings.workspace) as workspace:
        row = workspace.store.campaign(run_id)
        with progress_bar(f"resume {row.run_id}") as progress:
            done = resume(workspace, row.run_id, progress=progress, wait_s=wait_s)
        show_campaign(done, row.seed, as_json, workspace.store.layer_profiles(done.run_id))


@runs.command("export")
@click.argument("run_id")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option("--layers", is_flag=True, help="Print one row a layer instead (of a run with --per-layer).")
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
@click.pass_obj
def runs_export(settings: Settings, run_id: str, form: str, layers: bool, as_json: bool) -> None:
    """Print the measurements of a run, one row a workload, in SI units (`last`: the newest).

    CSV has one column a metric with the unit in its name; JSON Lines hold the raw readings of every invocation too.

    \b
    Examples:
      hilnas runs export last --format csv > measured.csv
      hilnas runs export last --format jsonl > raw.jsonl
    """
    from profiler._campaign import result
    from profiler._export import as_csv, as_jsonl, jsonl_rows, layer_rows, measurement_rows
    from profiler._workspace import Workspace

    as_lines = as_json or form == "jsonl"
    with Workspace.open(settings.workspace) as workspace:
        done = result(workspace, workspace.store.campaign(run_id).run_id)
        profiles = workspace.store.layer_profiles(done.run_id)
        if layers:
            rows = layer_rows(profiles)
        elif as_lines:
            rows = jsonl_rows(done.measurements, workspace.store.recorded(done.run_id), profiles)
        else:
            rows = measurement_rows(done.measurements)
    click.echo(as_jsonl(rows) if as_lines else as_csv(rows), nl=False)


@runs.command("path")
@json_option
@click.pass_obj
def runs_path(settings: Settings, as_json: bool) -> None:
    """Print where the database lies.

    \b
    Example:
      sqlite3 "$(hilnas runs path)" .schema
    """
    path = str((settings.workspace / "hilnas.db").resolve())
    if as_json:
        show_json(answer({"path": path}))
        return
    click.echo(path)


def _run_row(row: Any, done: CampaignResult) -> dict[str, Any]:
    from dataclasses import asdict

    summary = {key: value for key, value in asdict(done.summary).items() if key != "causes"}
    return {**summary, "space": row.space, "seed": row.seed, "created_at": row.created_at, "version": row.version}
