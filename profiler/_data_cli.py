"""`hilnas data`: tables of other tools, and records for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from hilnas.cli import Settings
from hilnas.errors import UsageError
from hilnas.output import answer, json_option, show_json, show_table

#: The columns that people see of a table's columns.
_SHOWN = ("column", "rows", "dimension", "unit", "batch", "values", "missing")


@click.group()
def data() -> None:
    """Import, list and export tables of architectures and of blocks.

    \b
    Example:
      hilnas data import pi4.csv --as pi4 --space nasbench201 --unit ms
    """


@data.command("import")
@click.argument("file", metavar="FILE|FOLDER|source_pack:NAME")
@click.option("--as", "name", help="Name of the table; one of the same name is replaced.  [default: the source pack's]")
@click.option("--space", help="Search space of the architectures, where the source does not say it.")
@click.option("--unit", "units", multiple=True, metavar="[COLUMN=]UNIT", help="ms, s, mj, percent, fraction, none ...")
@click.option("--batch", "batches", multiple=True, metavar="[COLUMN=]N", help="How many images one call had.")
@click.option("--format", "format_name", metavar="FORMAT", help="Format of the file, where its name does not tell it.")
@json_option
@click.pass_obj
def data_import(
    settings: Settings,
    file: str,
    name: str | None,
    space: str | None,
    units: tuple[str, ...],
    batches: tuple[str, ...],
    format_name: str | None,
    as_json: bool,
) -> None:
    """Import a table of another tool; its numeric columns become table:NAME/COLUMN.

    Formats: CSV (csv_table), HW-NAS-Bench (hwnasbench_pickle), HELP (help_folder), AnalogNAS-Bench (analognasbench),
    block tables of Once-for-All (ofa_yaml), FBNet (fbnet_jsonl) and nn-Meter (nnmeter_json), source packs
    (source_pack) and what hilnas exports (hilnas_export). Nothing in a file is ever executed.

    A column whose name ends in a unit (_ms, _mj, _s) uses it, a format that says its units has them; --unit names the
    unit of the rest.

    \b
    Examples:
      hilnas data import accuracy.csv.gz --as acc --space nasbench201 --unit percent
      hilnas data import HW-NAS-Bench-v1_0.pickle --as hw --space nasbench201
      hilnas data import note10_lookup_table.yaml --as note10 --unit ms
    """
    from profiler._import import import_request, import_table
    from profiler._workspace import Workspace

    request = import_request(file, name, space, units, batches)
    with Workspace.open(settings.workspace) as workspace:
        table = import_table(workspace.store, request, format_name)
        read = workspace.store.block_columns if table.kind == "blocks" else workspace.store.table_columns
        columns = [_column_row(column) for column in read(table.name)]
    if as_json:
        show_json(answer({"table": table.name, "space": table.space, "rows": table.kind, "columns": columns}))
        return
    show_table(_SHOWN, [[row[shown] for shown in _SHOWN] for row in columns])


@data.command("list")
@json_option
@click.pass_obj
def data_list(settings: Settings, as_json: bool) -> None:
    """List the columns of all imported tables, and the source packs that ship.

    \b
    Example:
      hilnas data list
    """
    from profiler._source_pack import shipped_packs
    from profiler._workspace import Workspace

    with Workspace.open(settings.workspace) as workspace:
        store = workspace.store
        columns = [_column_row(column) for column in (*store.table_columns(), *store.block_columns())]
    packs = [_pack_row(name) for name in shipped_packs()]
    if as_json:
        show_json(answer({"columns": columns, "source_packs": packs}))
        return
    show_table(_SHOWN, [[row[shown] for shown in _SHOWN] for row in columns])
    for pack in packs:
        click.echo(
            f"Ships: {pack['source_pack']}, {pack['architectures']} architectures of {pack['space']} on "
            f"{', '.join(pack['devices'])}: hilnas data import {pack['source_pack']}"
        )


@data.command("export")
@click.argument("name", metavar="NAME|DEVICE")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "ofa_yaml"]),
    default="csv",
    show_default=True,
    help="ofa_yaml: blocks of a table or device as Once-for-All reads them, in ms.",
)
@click.option("--column", help="Column of a table of blocks that ofa_yaml takes.  [default: the first]")
@click.option("--anonymous", is_flag=True, help="A device's measurements for others to merge: hardware, but no names.")
@click.option("--space", help="With --anonymous: the space, where the device has measurements of several.")
@click.option("--blocks", is_flag=True, help="With --anonymous: the blocks of the space instead of its architectures.")
@json_option
@click.pass_obj
def data_export(
    settings: Settings,
    name: str,
    form: str,
    column: str | None,
    anonymous: bool,
    space: str | None,
    blocks: bool,
    as_json: bool,
) -> None:
    """Print a table, or all measurements of a device, in SI units with the unit in the column's name (pi_ms: pi_s).

    --anonymous prints one JSON record that `hilnas data import` reads: latencies with their intervals, hardware model,
    runtime, options and protocol; no device, host or user name, path, serial number, UUID, date or time.

    \b
    Examples:
      hilnas data export pi4 > pi4_si.csv
      hilnas data export local_cpu --format ofa_yaml > local_cpu_blocks.yaml
      hilnas data export local_cpu --anonymous --space nasbench201 > mine.json
    """
    from profiler._data_export import exported_text, resolved
    from profiler._workspace import Workspace

    if (space or blocks) and not anonymous:
        raise UsageError("--space and --blocks belong to --anonymous")
    with Workspace.open(settings.workspace) as workspace:
        store = workspace.store
        what = resolved(store, name)
        if anonymous:
            if what.kind == "table":
                raise UsageError(f"{name} is a table", "--anonymous is for what was measured on a device.")
            from profiler._anonymous import anonymous_record

            text = _record_text(anonymous_record(store, what.name, space, blocks))
        elif as_json:
            show_json(answer(_json_of(store, what)))
            return
        else:
            text = exported_text(store, what, form, column)  # type: ignore[arg-type]
    click.echo(text, nl=False)


def _json_of(store: Any, what: Any) -> dict[str, Any]:
    """Return a table or device under the stored names, for `--json`."""
    from profiler._data_export import device_rows

    if what.kind == "device":
        return {"device": what.name, "rows": device_rows(store, what.name)}
    header, rows = store.table_rows(what.name)
    return {"table": what.name, "columns": header, "rows": rows, "provenance": store.provenance(what.name)}


def _record_text(record: Mapping[str, Any]) -> str:
    import json

    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def _column_row(column: Any) -> dict[str, Any]:
    return {
        "column": column.address,
        "rows": column.kind,
        "space": column.space or None,
        "dimension": column.dimension,
        "unit": column.unit,
        "batch": column.batch,
        "values": len(column.values),
        "missing": column.n_missing,
    }


def _pack_row(name: str) -> dict[str, Any]:
    from profiler._source_pack import load_pack

    pack = load_pack(name)
    return {
        "source_pack": f"source_pack:{name}",
        "space": pack.provenance.get("space"),
        "architectures": pack.provenance.get("architectures"),
        "devices": list(pack.tables),
    }
