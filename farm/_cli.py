"""`python -m farm`: stand-in boards that stay until they are taken down, for trying hilnas out by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from farm import faces
from farm._board import Board
from farm._configs import write_configs
from farm._farm import Farm, farms
from hilnas.errors import HilnasError, UsageError

_FARM = "main"
_AGENT = r"\.cache/hilnas/agent/"
_BOARDS = ("pi5:pi5", "orin:orin_nano", "pc:linux")


class _Group(click.Group):
    """Says errors in three parts, as hilnas does."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; an error ends the program with its exit code."""
        try:
            return super().main(*args, **kwargs)
        except HilnasError as error:
            click.echo(f"farm: {error}", err=True)
            sys.exit(error.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def farm() -> None:
    """Stand-in boards on this machine: real sshds with the faces and faults of real boards. Needs root."""


@farm.command()
@click.argument("boards", nargs=-1, metavar="[NAME:FACE ...]")
@click.option("--sudo", is_flag=True, help="Their user is root without a password.")
@click.option("--container", is_flag=True, help="The runtime lives in a container `ml` only.")
@click.option("--memory", default="512m", show_default=True, help="Memory of each, with what is written to its disk.")
@click.option("--disk", default="256m", show_default=True, help="Disk of each.")
@click.option("--cpus", help="Cores that they may use, such as 0 or 0-1.")
def up(boards: tuple[str, ...], **options: Any) -> None:
    """Boot boards that stay; without any: a Raspberry Pi 5, a Jetson Orin Nano and a PC."""
    here = Farm(_FARM)
    for text in boards or _BOARDS:
        name, _, face = text.partition(":")
        board = here.add(name, face or "linux", **options)
        click.echo(f"{board.name}: {faces.load(board.state.face).description}, {board.address}")
    folder = write_configs(here)
    first = here.boards()[0].name
    click.echo(
        f"\nDevice configs: {folder}\nTry:\n"
        f"  hilnas --configs {folder} devices list\n"
        f"  hilnas --configs {folder} devices doctor {first}\n"
        f"  hilnas --configs {folder} profile {first} --space nasbench201 --samples 3\n"
        f"  ssh -F {here.board(first).ssh_config} {first}\n"
        f"  python -m farm cut {first}\n  python -m farm down"
    )


@farm.command("list")
def list_boards() -> None:
    """Show the boards of all farms."""
    for item in farms():
        for board in item.boards():
            state = board.state
            words = ["on" if board.is_on else "off", "cut" if state.is_cut else "", "slow" if state.wire else ""]
            click.echo(f"{item.name}/{board.name}\t{state.face}\t{board.address}\t{' '.join(filter(None, words))}")


@farm.command()
@click.option("--all", "everything", is_flag=True, help="Also the farms of tests that are still running.")
def down(everything: bool) -> None:
    """Remove the boards, and farms whose process was killed."""
    for item in farms():
        if everything or item.name == _FARM or item.is_orphaned:
            item.down()
            click.echo(f"{item.name}: down")


@farm.command()
@click.argument("name")
@click.option("--delay", "delay_ms", type=click.FloatRange(0, 60_000), default=0.0, help="Milliseconds each way.")
@click.option("--rate", "rate_mbit_s", type=click.FloatRange(0.001), help="Megabits per second, each way.")
@click.option("--loss", type=click.FloatRange(0, 1), default=0.0, help="Share of packets that are lost.")
def slow(name: str, delay_ms: float, rate_mbit_s: float | None, loss: float) -> None:
    """Make its link slow; without options: fast again."""
    _board(name).shape(delay_ms / 1e3, rate_mbit_s * 1e6 if rate_mbit_s else None, loss)


@farm.command("fill-disk")
@click.argument("name")
@click.option("--leave", "leave_bytes", type=click.IntRange(0), default=0, help="Bytes that stay free.")
def fill_disk(name: str, leave_bytes: int) -> None:
    """Fill its disk."""
    _board(name).fill_disk(leave_bytes)


@farm.command("skew-clock")
@click.argument("name")
@click.argument("seconds", type=float)
def skew_clock(name: str, seconds: float) -> None:
    """Shift its wall clock for programs started from now on."""
    _board(name).skew_clock(seconds)


@farm.command("kill-agent")
@click.argument("name")
def kill_agent(name: str) -> None:
    """Kill the measuring program on it."""
    if not _board(name).kill(_AGENT):
        raise UsageError(f"no measuring program runs on {name}")


def _board(name: str) -> Board:
    return Farm(_FARM).board(name)


def _plain(name: str, action: Callable[[Board], object], text: str) -> None:
    """Add a command that takes nothing but a board."""

    def command(name: str) -> None:
        action(_board(name))

    farm.command(name, help=text)(click.argument("name")(command))


def _switch(name: str, action: Callable[[Board, bool], object], text: str) -> None:
    """Add a command that is undone with --off."""

    def command(name: str, off: bool) -> None:
        action(_board(name), not off)

    option = click.option("--off", is_flag=True, help="Undo it.")
    farm.command(name, help=text)(click.argument("name")(option(command)))


_plain("cut", Board.cut, "Cut its link.")
_plain("mend", Board.mend, "Mend its link.")
_plain("reboot", Board.reboot, "Cut its power and boot it again.")
_plain("power-off", Board.power_off, "Cut its power.")
_plain("power-on", Board.power_on, "Boot it.")
_plain("freeze", Board.freeze, "Stop everything on it; its link stays up.")
_plain("thaw", Board.thaw, "Let everything on it go on.")
_plain("free-disk", Board.free_disk, "Free its disk again.")
_plain("host-key", Board.change_host_key, "Give it another host key.")
_plain("load", Board.add_foreign_load, "Let another user take a core of it.")
_plain("unload", Board.stop_foreign_load, "End the other user's programs.")
_plain("break-runtime", Board.break_runtime, "Put a runtime of another architecture there.")
_switch("throttle", Board.throttle, "Make it throttle.")
_switch("corrupt", Board.corrupt, "Spoil every seventh line that python3 prints there, from now on.")
_switch("refuse-login", Board.refuse_login, "Let nobody in any more.")
_switch("hide-runtime", Board.hide_runtime, "Make the import of ONNX Runtime fail.")
