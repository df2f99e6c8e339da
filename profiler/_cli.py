"""`hilnas profile`, `hilnas runs` and `hilnas data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hilnas.cli import Settings
from hilnas.output import answer, json_option, show_json, show_table

if TYPE_CHECKING:
    from profiler._campaign import CampaignResult
    from profiler._comparison import Ratio
    from profiler._workspace import Workspace


@click.command()
@click.argument("device")
@click.option("--space", help="Search space whose architectures or blocks are measured.")
@click.option(
    "--space-option", "space_options", multiple=True, metavar="NAME=N", help="Option of the space (width=32)."
)
@click.option("--samples", type=click.IntRange(1), help="How many random architectures, distinct in what they compute.")
@click.option("--blocks", is_flag=True, help="Measure the blocks of the space: the entries of a lookup table.")
@click.option("--architecture", "architectures", multiple=True, help="Measure this architecture (may be repeated).")
@click.option(
    "--model", "models", multiple=True, type=click.Path(path_type=Path), help="ONNX file; several: A against B."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--invocations", type=click.IntRange(1), help="Invocations a workload gets at least.")
@click.option("--rate", metavar="RATE", help="Pace the calls as in use, e.g. 10/s: clocks fall between them.")
@click.option("--sustained", metavar="TIME", help="Call for that long, e.g. 30min: throttling shows over time.")
@click.option("--wait", metavar="TIME", default="0s", help="Wait so long for a device that somebody else uses.")
@click.option("--gate", "gates", multiple=True, help='With several models: exit 3 when it fails, e.g. "ratio<=1.05".')
@json_option
@click.pass_obj
def profile(
    settings: Settings,
    device: str,
    space: str | None,
    space_options: tuple[str, ...],
    samples: int | None,
    blocks: bool,
    architectures: tuple[str, ...],
    models: tuple[Path, ...],
    seed: int,
    invocations: int | None,
    rate: str | None,
    sustained: str | None,
    wait: str,
    gates: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure architectures, blocks or models on a device: a campaign that can be resumed.

    DEVICE is the name of a config, or table:NAME/COLUMN to replay a reference table.

    \b
    Examples:
      hilnas profile local_cpu --space nasbench201 --samples 60 --seed 0
      hilnas profile local_cpu --space nasbench201 --blocks
      hilnas profile local_cpu --model a.onnx --model b.onnx --gate "ratio<=1.05"
      hilnas profile local_cpu --model a.onnx --rate 10/s
    """
    from devices._config import find_device
    from hilnas.gates import parse_gate
    from hilnas.units import parse_quantity
    from profiler._asked import asked_protocol, asked_workloads
    from profiler._campaign import measure, open_device
    from profiler._comparison import enforce
    from profiler._progress import progress_bar
    from profiler._workspace import Workspace

    config = find_device(device, settings.configs)
    wanted = [parse_gate(text, ["ratio"]) for text in gates]
    wait_s = parse_quantity(wait, "time")
    with Workspace.open(settings.workspace) as workspace:
        workloads = asked_workloads(
            space, space_options, samples, blocks, architectures, models, seed, workspace.artifacts
        )
        usual = open_device(config, workspace).protocol
        protocol = asked_protocol(usual, len(models), invocations, rate, sustained)
        with progress_bar(f"profile {device}") as progress:
            done = measure(
                workspace,
                config,
                workloads,
                protocol=protocol,
                seed=seed,
                progress=progress,
                space=space,
                wait_s=wait_s,
            )
        ratios = _ratios(workspace, done) if len(models) > 1 else []
        _show(done, seed, ratios, as_json)
    for gate in wanted:
        enforce(gate, ratios)


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
    from profiler._export import measurement_row
    from profiler._workspace import Workspace

    with Workspace.open(settings.workspace) as workspace:
        row = workspace.store.campaign(run_id)
        done = result(workspace, row.run_id)
        facts = workspace.store.environment_facts(row.environment)
        events = workspace.store.events(row.run_id)
        timelines = workspace.store.timelines(row.run_id)
    rows = [measurement_row(item) for item in done.measurements]
    if as_json:
        found = {"space": row.space, "environment": facts, "measurements": rows, "events": events}
        show_json(answer({**asdict(done.summary), **found, "timelines": timelines}, row.seed))
        return
    _show_summary(done)
    columns = ("architecture", "status", "latency_s", "relative_half_width", "invocations", "cause")
    show_table(columns, [[item[name] for name in columns] for item in rows])
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
    from profiler._workspace import Workspace

    wait_s = parse_quantity(wait, "time")
    with Workspace.open(settings.workspace) as workspace:
        row = workspace.store.campaign(run_id)
        with progress_bar(f"resume {row.run_id}") as progress:
            done = resume(workspace, row.run_id, progress=progress, wait_s=wait_s)
        _show(done, row.seed, [], as_json)


@runs.command("export")
@click.argument("run_id")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
@click.pass_obj
def runs_export(settings: Settings, run_id: str, form: str, as_json: bool) -> None:
    """Print the measurements of a run, one row a workload (`last`: the newest).

    \b
    Example:
      hilnas runs export last --format csv > measured.csv
    """
    from profiler._campaign import result
    from profiler._export import as_csv, as_jsonl, measurement_row
    from profiler._workspace import Workspace

    with Workspace.open(settings.workspace) as workspace:
        done = result(workspace, workspace.store.campaign(run_id).run_id)
    rows = [measurement_row(item) for item in done.measurements]
    click.echo(as_jsonl(rows) if as_json or form == "jsonl" else as_csv(rows), nl=False)


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


@click.group()
def data() -> None:
    """Import, list and export reference tables.

    \b
    Example:
      hilnas data import pi4.csv --as pi4 --space nasbench201 --unit ms
    """


@data.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "name", required=True, help="Name of the table; one of the same name is replaced.")
@click.option("--space", required=True, help="Search space of the architectures.")
@click.option("--unit", "units", multiple=True, metavar="[COLUMN=]UNIT", help="ms, s, mj, percent, none ...")
@json_option
@click.pass_obj
def data_import(settings: Settings, file: Path, name: str, space: str, units: tuple[str, ...], as_json: bool) -> None:
    """Import a table of another tool; its numeric columns become table:NAME/COLUMN.

    A column whose name ends in a unit (_ms, _mj, _s) uses it; --unit names the unit of the rest.

    \b
    Example:
      hilnas data import accuracy.csv.gz --as acc --space nasbench201 --unit percent
    """
    from profiler._asked import import_request
    from profiler._import import import_table
    from profiler._workspace import Workspace

    request = import_request(file, name, space, units)
    with Workspace.open(settings.workspace) as workspace:
        import_table(workspace.store, request)
        columns = [_column_row(column) for column in workspace.store.table_columns(name)]
    if as_json:
        show_json(answer({"table": name, "space": space, "columns": columns}))
        return
    show_table(("column", "dimension", "unit", "values", "missing"), [list(row.values()) for row in columns])


@data.command("list")
@json_option
@click.pass_obj
def data_list(settings: Settings, as_json: bool) -> None:
    """List the columns of all imported tables.

    \b
    Example:
      hilnas data list
    """
    from profiler._workspace import Workspace

    with Workspace.open(settings.workspace) as workspace:
        columns = [_column_row(column) for column in workspace.store.table_columns()]
    if as_json:
        show_json(answer({"columns": columns}))
        return
    show_table(("column", "dimension", "unit", "values", "missing"), [list(row.values()) for row in columns])


@data.command("export")
@click.argument("name")
@json_option
@click.pass_obj
def data_export(settings: Settings, name: str, as_json: bool) -> None:
    """Print a table as CSV, values in SI units (seconds, joules; percent stays percent).

    \b
    Example:
      hilnas data export pi4 > pi4_si.csv
    """
    from profiler._export import as_csv
    from profiler._workspace import Workspace

    with Workspace.open(settings.workspace) as workspace:
        header, rows = workspace.store.table_rows(name)
    if as_json:
        show_json(answer({"table": name, "columns": header, "rows": rows}))
        return
    click.echo(as_csv(rows), nl=False)


def _ratios(workspace: Workspace, done: CampaignResult) -> list[Ratio]:
    from profiler._comparison import paired_ratio

    found = workspace.store.invocations(done.run_id)
    first, *others = [item.workload for item in done.measurements]
    base = found.get(first.key, [])
    ratios = [paired_ratio(item.name, first.name, found.get(item.key, []), base) for item in others]
    return [ratio for ratio in ratios if ratio is not None]


def _show(done: CampaignResult, seed: int, ratios: list[Ratio], as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        compared = {"comparison": [asdict(ratio) for ratio in ratios]} if ratios else {}
        show_json(answer({**asdict(done.summary), **compared}, seed))
        return
    _show_summary(done)
    for ratio in ratios:
        slower = f"{ratio.name} is {ratio.ratio:.3f} ± {ratio.half_width:.3f} times slower than {ratio.reference}"
        click.echo(f"{slower} ({ratio.pairs} paired rounds, {ratio.confidence:.0%} interval)")


def _show_summary(done: CampaignResult) -> None:
    from dataclasses import asdict

    shown = {key: value for key, value in asdict(done.summary).items() if key != "causes"}
    show_table(("run", done.run_id), [(key, value) for key, value in shown.items() if key != "run_id"])
    for name, cause in list(done.summary.causes.items())[:10]:
        click.echo(f"{name}: {cause}", err=True)


def _run_row(row: Any, done: CampaignResult) -> dict[str, Any]:
    from dataclasses import asdict

    summary = {key: value for key, value in asdict(done.summary).items() if key != "causes"}
    return {**summary, "space": row.space, "seed": row.seed, "created_at": row.created_at, "version": row.version}


def _column_row(column: Any) -> dict[str, Any]:
    return {
        "column": column.address,
        "dimension": column.dimension,
        "unit": column.unit,
        "values": len(column.values),
        "missing": column.n_missing,
    }
