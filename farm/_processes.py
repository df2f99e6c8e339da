"""What runs on a board, seen from the machine."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from farm._image import OTHER, OTHER_ID, USER, USER_ID

_NAMES = {0: "root", USER_ID: USER, OTHER_ID: OTHER}


@dataclass(frozen=True, slots=True)
class Process:
    """A process on a board: its number there, its user there, its command line."""

    pid: int
    user: str
    command: str


def processes_of(init_pid: int) -> dict[int, Process]:
    """Return the processes of a board by their number on the machine; zombies and sshd's own are left out."""
    space = _space(Path(f"/proc/{init_pid}"))
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or space is None or _space(entry) != space:
            continue
        with contextlib.suppress(OSError, ValueError):
            process = _read(entry)
            if process is not None:
                found[int(entry.name)] = process
    return found


def _space(entry: Path) -> str | None:
    try:
        return str((entry / "ns/pid").readlink())
    except OSError:
        return None


def _read(entry: Path) -> Process | None:
    values = dict(line.partition(":")[::2] for line in (entry / "status").read_text().splitlines())
    words = emulated((entry / "cmdline").read_bytes().decode("utf-8", "replace").rstrip("\0").split("\0"))
    if values["State"].split()[0] in "ZX" or not words[0] or _is_sshd(words[0]):
        return None
    user_id = int(values["Uid"].split()[0])
    return Process(int(values["NSpid"].split()[-1]), _NAMES.get(user_id, str(user_id)), " ".join(words))


def emulated(words: list[str]) -> list[str]:
    """Return a command line without the emulator that runs it, as the program itself sees it."""
    if words[0].endswith("aarch64-binfmt-P") and len(words) > 2:  # emulator, path, then the program's own words
        return words[2:]
    return words


def _is_sshd(word: str) -> bool:
    return word.startswith("sshd:") or word.rpartition("/")[2] == "sshd"
