"""The root of the command line: it finds command groups by entry point and imports nothing of ours above it."""

from __future__ import annotations

import errno
import logging
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import click

from hilnas import __version__
from hilnas.errors import HilnasError

#: The order in which a new user meets the commands; unknown ones follow.
_ORDER = ("devices", "profile", "runs", "data", "fit", "predict", "compare", "search", "report", "demo")


@dataclass(frozen=True)
class Settings:
    """What the root's options say; commands receive it as the click context's object."""

    workspace: Path
    configs: Path | None
    verbose: int


class _Commands(click.Group):
    """Commands by entry point, each imported when it is needed."""

    def _found(self) -> dict[str, EntryPoint]:
        found = {entry.name: entry for entry in entry_points(group="hilnas.commands")}
        return dict(sorted(found.items(), key=lambda item: (_rank(item[0]), item[0])))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._found().get(cmd_name)
        if entry is None:
            return None
        try:
            command = entry.load()
        except ImportError as error:
            return _broken(entry, error)
        return command if isinstance(command, click.Command) else None


def _broken(entry: EntryPoint, error: ImportError) -> click.Command:
    """Return a command that says why it cannot run, so that one broken package does not take the others along."""

    def complain() -> None:
        raise HilnasError(
            f"the command {entry.name!r} cannot be loaded: {error}",
            f"It is {entry.value} of the distribution {entry.dist.name if entry.dist else 'unknown'!r}.",
            "Install that distribution again, or remove it.",
        ) from error

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(entry.name, anything, complain, help=f"Cannot be loaded: {error}")


def _rank(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="hilnas")
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".hilnas"),
    envvar="HILNAS_WORKSPACE",
    show_default=True,
    show_envvar=True,
    help="Folder that holds the records, tables and predictors.",
)
@click.option(
    "--configs",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="HILNAS_DEVICE_CONFIGS",
    show_envvar=True,
    help="Folder with device configs (TOML).  [default: ./device_configs, then the user's config folder]",
)
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for everything.")
@click.pass_context
def cli(ctx: click.Context, workspace: Path, configs: Path | None, verbose: int) -> None:
    """Measure neural networks on real devices, and search architectures with what was measured.

    \b
    Example:
      hilnas profile local_cpu --space nasbench201 --samples 60
      hilnas fit local_cpu --predictor gradient_boosting
      hilnas search latency_reward_rl --space nasbench201 --device local_cpu --max latency=2ms
    """
    ctx.obj = Settings(workspace, configs, verbose)
    if verbose:
        _log_to_stderr(logging.DEBUG if verbose > 1 else logging.INFO)


def _log_to_stderr(level: int) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("hilnas")
    logger.addHandler(handler)
    logger.setLevel(level)


def main() -> None:
    """Run the command line and exit with its code: 0 ok, 1 internal, 2 usage, 3 gate, 4 device, 5 unclear, 130 ^C."""
    try:
        code = cli.main(standalone_mode=False)
    except HilnasError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _complain(HilnasError(f"the disk is full: {error}", "Everything stored before is kept.", "Free some space."))
        sys.exit(HilnasError.exit_code)
    except click.Abort:
        click.echo("interrupted; everything measured so far is kept", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted; everything measured so far is kept", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(error: HilnasError) -> None:
    click.echo(f"error: {error.what}", err=True)
    for part in (error.cause, error.remedy):
        if part:
            click.echo(f"  {part}", err=True)


if __name__ == "__main__":
    main()
