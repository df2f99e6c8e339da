"""`hilnas devices`: what is there, is it ready, what would mend it."""

from __future__ import annotations

import click

from hilnas.cli import Settings
from hilnas.output import answer, json_option, show_json, show_table


@click.group()
def devices() -> None:
    """List, show, add and examine devices.

    \b
    Example:
      hilnas devices doctor local_cpu
    """


@devices.command("list")
@json_option
@click.pass_obj
def devices_list(settings: Settings, as_json: bool) -> None:
    """List all devices and where they are described.

    \b
    Example:
      hilnas devices list
    """
    from devices._config import find_device, known_devices
    from hilnas.errors import HilnasError

    rows = []
    for name, path in known_devices(settings.configs).items():
        row = {"name": name, "kind": "", "description": "", "source": str(path) if path else "built in", "problem": ""}
        try:
            config = find_device(name, settings.configs)
            row.update(kind=config.kind, description=config.description)
        except HilnasError as error:
            row["problem"] = f"{error.what}: {error.cause}"
        rows.append(row)
    if as_json:
        show_json(answer({"devices": rows}))
        return
    show_table(("name", "kind", "description", "source", "problem"), [list(row.values()) for row in rows])


@devices.command("show")
@click.argument("name")
@json_option
@click.pass_obj
def devices_show(settings: Settings, name: str, as_json: bool) -> None:
    """Show a device's config with every default filled in.

    \b
    Example:
      hilnas devices show local_cpu
    """
    from devices._config import find_device

    config = find_device(name, settings.configs).model_dump(mode="json")
    if as_json:
        show_json(answer({"device": config}))
        return
    show_table(("key", "value"), [(key, value) for key, value in config.items()])


@devices.command("add")
@click.argument("name")
@click.argument("kind")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads of the runtime.")
@click.option("--description", default="", help="A line that tells what it is.")
@json_option
@click.pass_obj
def devices_add(settings: Settings, name: str, kind: str, threads: int, description: str, as_json: bool) -> None:
    """Describe a device: write NAME.toml of KIND to the first config folder that can be written.

    \b
    Example:
      hilnas devices add cpu_2_threads local_cpu --threads 2
    """
    from devices._add import add_device

    path = add_device(name, kind, threads, description, settings.configs)
    if as_json:
        show_json(answer({"name": name, "kind": kind, "path": str(path)}))
        return
    click.echo(f"{path} written; now: hilnas devices doctor {name}")


@devices.command("doctor")
@click.argument("name")
@json_option
@click.pass_context
def devices_doctor(ctx: click.Context, name: str, as_json: bool) -> None:
    """Check whether a device is ready to measure and say what would mend it; exit 4 when it is not.

    \b
    Example:
      hilnas devices doctor local_cpu
    """
    from devices._base import Device
    from devices._config import find_device
    from hilnas import plugins

    settings: Settings = ctx.obj
    config = find_device(name, settings.configs)
    checks = plugins.load("devices", config.kind, Device)(config).checks()
    ready = all(check.ok for check in checks)
    if as_json:
        show_json(answer({"device": name, "ready": ready, "checks": [check.to_json() for check in checks]}))
    else:
        rows = [(check.name, "ok" if check.ok else "NOT OK", check.found, check.remedy) for check in checks]
        show_table(("check", "", "found", "remedy"), rows)
    if not ready:
        ctx.exit(4)
