"""A farm: stand-in boards that come and go together."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from farm import faces
from farm._board import Board
from farm._cgroups import Limits
from farm._errors import FarmFailure, FarmUnavailable
from farm._host import Running, call, running, write
from farm._making import make_board
from farm._needs import why_unavailable
from farm._network import Link, give_back, links_of, take_link
from farm._power import start
from farm._state import FARMS, BoardState
from hilnas.errors import UnknownName, UsageError

_SIZE = re.compile(r"[1-9][0-9]{0,9}[kmg]?")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class Farm:
    """Boards on this machine; a context manager that removes all of them, whatever happened.

    `name` is that of a farm that is there already or is to be made; without one a new farm gets a name of its own.
    Raises FarmUnavailable where no board can be made.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f"f{secrets.token_hex(4)}"
        self._owner: Running | None = None
        _checked(self.name)

    def __enter__(self) -> Farm:
        self._owner = running(os.getpid())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @property
    def folder(self) -> Path:
        """Return the folder of everything that belongs to the farm."""
        return FARMS / self.name

    @property
    def is_orphaned(self) -> bool:
        """Say whether it belonged to a `with` statement of a process that has gone."""
        owner = self.folder / "owner"
        if not owner.exists():
            return False
        pid, start = owner.read_text().split()
        return not Running(int(pid), start).alive

    def add(
        self,
        name: str,
        face: str = "linux",
        *,
        sudo: bool = False,
        memory: str = "512m",
        disk: str = "256m",
        cpus: str | None = None,
        runtime: bool = True,
        container: bool = False,
    ) -> Board:
        """Make a board and boot it.

        `sudo`: its user is root without a password. `memory` and `disk` limit it, in the kernel's notation (`512m`);
        what it writes to its disk counts as memory as well. `cpus` names the cores it may use (`0`, `0-1`). `runtime`:
        `python3` can import ONNX Runtime; with `container` only inside its container `ml` (`docker exec ml ...`).

        Raises FarmUnavailable where it cannot be made, UnknownName for an unknown face, UsageError for a bad name.
        """
        problem = why_unavailable()
        if problem is not None:
            raise FarmUnavailable("there can be no stand-in boards here", problem)
        self._check_new(name, faces.load(face), sudo, memory, disk)
        self._make_folder()
        with _plain_umask():
            link = take_link(f"hilnas-farm.{self.name}.{name}", self.name)
            state = BoardState(self.name, name, face, link.index, sudo, Limits(memory, cpus), disk, runtime, container)
            try:
                board = make_board(state)
                start(board.state)
            except OSError as error:
                _sweep(state)
                raise FarmFailure(f"the stand-in {name} cannot be made: {error}") from error
            except BaseException:
                _sweep(state)
                raise
        return board

    def boards(self) -> list[Board]:
        """Return its boards by name."""
        return [Board(path.parent) for path in sorted(self.folder.glob("*/board.json"))]

    def board(self, name: str) -> Board:
        """Return a board; raise UnknownName when there is none of that name."""
        known = {board.name: board for board in self.boards()}
        if name not in known:
            raise UnknownName("stand-in board", name, known, "List them with: python -m farm list")
        return known[name]

    def down(self) -> None:
        """Remove all boards, and what a process that was killed has left; nothing happens when there is nothing."""
        for board in self.boards():
            _sweep(board.state)
        for index in links_of(self.name):  # reserved by a process that was killed before it wrote anything down
            link = Link(index, "")
            link.remove()
            give_back(link)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._owner is not None:
            write(self.folder / "owner", f"{self._owner.pid} {self._owner.start_time}\n")
        key = self.folder / "identity"
        if not key.exists():
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"hilnas-farm {self.name}", "-f", str(key))

    def _check_new(self, name: str, face: faces.Face, sudo: bool, memory: str, disk: str) -> None:
        _checked(name)
        for size in (memory, disk):
            if not _SIZE.fullmatch(size):
                raise UsageError(f"not a size of memory or disk: {size!r}", "", "Write it like 512m or 2g.")
        if (self.folder / name).exists():
            raise UsageError(f"the farm has a board {name!r} already", "", "Give it another name.")
        if face.aarch64 and sudo:
            raise FarmUnavailable("an emulated board has no sudo", "The emulator is not started with a file's user.")
        if sudo and not Path("/usr/bin/sudo").exists():
            raise FarmUnavailable("boards can have no sudo here", "", "Run: apt-get install sudo")


def farms() -> list[Farm]:
    """Return the farms that are there, those of processes that were killed included."""
    return [Farm(path.name) for path in sorted(FARMS.iterdir()) if path.is_dir()] if FARMS.is_dir() else []


def _checked(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"not a name of a farm or board: {name!r}", "Lower-case letters, digits, '_' and '-', at most 32."
        )


def _sweep(state: BoardState) -> None:
    """Remove a board, however little of it was made."""
    if (state.folder / "board.json").exists():
        Board(state.folder).remove()
    else:
        give_back(state.link)


@contextmanager
def _plain_umask() -> Iterator[None]:
    """A board's files are readable by its users, whatever the umask of the process that makes them."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)
