"""`hilnas devices`: what is there, is it ready, what would mend it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
@click.argument("target", required=False)
@click.option("--kind", help="Kind of the board; without it hilnas connects and looks.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads of the runtime.")
@click.option("--description", default="", help="A line that tells what it is.")
@click.option("--backend", help="Runtime, e.g. trtexec.")
@click.option("--python", help="Python on the board (default: python3).")
@click.option("--container", help="Run the agent through docker exec in this container.")
@click.option("--identity", help="Private key file.")
@click.option("--accept-key", metavar="SHA256:...", help="Trust the board's host key if this is its fingerprint.")
@click.option(
    "--install-runtime",
    "wheels",
    type=click.Path(path_type=Path),
    help="Folder of wheels: those that fit are installed on the board, offline, into the agent's own folder.",
)
@json_option
@click.pass_obj
def devices_add(
    settings: Settings,
    name: str,
    target: str | None,
    kind: str | None,
    threads: int,
    description: str,
    backend: str | None,
    python: str | None,
    container: str | None,
    identity: str | None,
    accept_key: str | None,
    wheels: Path | None,
    as_json: bool,
) -> None:
    """Describe a device: write NAME.toml to the first config folder that can be written.

    TARGET is a board's address (ssh://HOST, ssh://USER@HOST:PORT; a Host of ~/.ssh/config works) or a kind. For a
    device that is there already only --install-runtime does something.

    \b
    Examples:
      hilnas devices add cpu_2_threads local_cpu --threads 2
      hilnas devices add pi5 ssh://pi5 --kind raspberry_pi
      hilnas devices add pi5 --install-runtime wheels
    """
    from devices import _add, _doctor
    from devices._config import find_device
    from devices._errors import HostKeyRefused
    from hilnas.errors import UsageError

    installed: dict[str, Any] = {}
    if target is None:
        if wheels is None:
            raise UsageError(f"where is {name}?", "", f"Write: hilnas devices add {name} ssh://HOST")
        installed = _doctor.install_runtime(find_device(name, settings.configs), wheels)
        _say(as_json, {"name": name, "installed": installed}, f"{name}: installed {installed}")
        return
    _add.need_free_name(name, settings.configs)
    ssh = {key: value for key, value in (("python", python), ("container", container), ("identity", identity)) if value}
    given = {"description": description, "backend": backend, "options": {"threads": threads}, "ssh": ssh}
    config = _add.new_config(name, target, kind, given)
    try:
        if accept_key is not None:
            _doctor.accept_key(config, accept_key)
        if kind is None and "://" in target:
            config = config.model_copy(update={"kind": _doctor.detect_kind(config)})
        if wheels is not None:
            installed = _doctor.install_runtime(config, wheels)
    except HostKeyRefused as error:
        remedy = error.remedy.replace(f"devices doctor {name}", f"devices add {name} {target}")
        raise HostKeyRefused(error.what, error.cause, remedy) from error
    path = _add.write_config(config, settings.configs)
    said = {"name": name, "kind": config.kind, "path": str(path), "installed": installed}
    _say(as_json, said, f"{path} written ({config.kind}); now: hilnas devices doctor {name}")


@devices.command("doctor")
@click.argument("name")
@click.option("--accept-key", metavar="SHA256:...", help="Trust the board's host key if this is its fingerprint.")
@click.option(
    "--fix",
    "fixes",
    multiple=True,
    type=click.Choice(["governor", "clocks", "power-mode"]),
    help="Set this power state with sudo -n, verify and undo it.",
)
@click.option("--power-mode", type=click.IntRange(0, 31), help="The mode that --fix power-mode sets (default: 0).")
@click.option("--allow-reboot", is_flag=True, help="A power mode that wants a restart may restart the board.")
@click.option(
    "--agreement",
    metavar="FILE.onnx",
    type=click.Path(path_type=Path),
    help="Compare our figure for this model with that of the runtime's own benchmark on the device.",
)
@json_option
@click.pass_context
def devices_doctor(
    ctx: click.Context,
    name: str,
    accept_key: str | None,
    fixes: tuple[str, ...],
    power_mode: int | None,
    allow_reboot: bool,
    agreement: Path | None,
    as_json: bool,
) -> None:
    """Check whether a device is ready to measure and say what would mend it; exit 4 when it is not.

    \b
    Examples:
      hilnas devices doctor local_cpu
      hilnas devices doctor pi5 --fix governor
    """
    from devices._base import Device
    from devices._config import find_device
    from hilnas import plugins

    settings: Settings = ctx.obj
    config = find_device(name, settings.configs)
    if accept_key is not None or fixes:
        from devices import _doctor

        _need_board(config.ssh.host, name)
    if accept_key is not None:
        _doctor.accept_key(config, accept_key)
    device = plugins.load("devices", config.kind, Device)(config)
    checks = device.checks()
    if fixes:
        checks += _doctor.try_fixes(config, fixes, allow_reboot, power_mode)
    if agreement is not None:
        from devices._agree import agreement_checks

        checks += agreement_checks(device, agreement)
    ready = all(check.ok for check in checks)
    if as_json:
        show_json(answer({"device": name, "ready": ready, "checks": [check.to_json() for check in checks]}))
    else:
        rows = [(check.name, "ok" if check.ok else "NOT OK", check.found, check.remedy) for check in checks]
        show_table(("check", "", "found", "remedy"), rows)
    if not ready:
        ctx.exit(4)


def _need_board(host: str, name: str) -> None:
    from hilnas.errors import UsageError

    if not host:
        raise UsageError(f"{name} is no board behind SSH: there is nothing to change on it")


def _say(as_json: bool, values: Mapping[str, Any], text: str) -> None:
    if as_json:
        show_json(answer(dict(values)))
    else:
        click.echo(text)
