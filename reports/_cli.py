"""`hilnas report` and `hilnas demo`."""

from __future__ import annotations

from pathlib import Path

import click

from hilnas.cli import Settings
from hilnas.output import answer, json_option, show_json


@click.command()
@click.argument("subject")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: SUBJECT.html]"
)
@json_option
@click.pass_obj
def report(settings: Settings, subject: str, output: Path | None, as_json: bool) -> None:
    """Write one offline HTML file about a run, a study or a comparison.

    SUBJECT is a run_id (`last`: the newest), a study's or a comparison's id.

    \b
    Example:
      hilnas report last --output campaign.html
    """
    from hilnas.errors import UsageError
    from profiler._workspace import Workspace
    from reports._subjects import report_page

    with Workspace.open(settings.workspace) as workspace:
        text = report_page(workspace, subject)
    path = output or Path(f"{subject}.html")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", "", "Name another file: --output FILE"
        ) from error
    if as_json:
        show_json(answer({"path": str(path), "size_bytes": path.stat().st_size}))
        return
    click.echo(f"{path} written")


@click.command()
@click.option("--device", default="local_cpu", show_default=True, help="The device the stories are told on.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@json_option
@click.pass_context
def demo(ctx: click.Context, device: str, seed: int, as_json: bool) -> None:
    """Tell the three stories on this machine, in minutes: profile, fit, compare, search.

    \b
    Example:
      hilnas demo
    """
    from hilnas.cli import cli
    from profiler._workspace import Workspace
    from reports._demo import tell

    settings: Settings = ctx.obj
    root = ["--workspace", str(settings.workspace)]
    if settings.configs is not None:
        root += ["--configs", str(settings.configs)]
    commands: list[str] = []

    def run(command: list[str]) -> int:
        commands.append(" ".join(command))
        code = cli.main([*root, *command], standalone_mode=False)
        return code if isinstance(code, int) else 0

    with Workspace.open(settings.workspace) as workspace:
        code = tell(workspace, device, seed, run, lambda text: click.echo(text, err=as_json))
    if as_json:
        show_json(answer({"commands": commands, "exit_code": code}, seed))
    ctx.exit(code)
