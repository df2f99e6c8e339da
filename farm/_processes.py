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
    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    words = [word for word in command.split(" ") if not word.endswith(("qemu-aarch64-static", "qemu-aarch64"))]
    if values["State"].split()[0] in "ZX" or not words or _is_sshd(words):
        return None
    user_id = int(values["Uid"].split()[0])
    return Process(int(values["NSpid"].split()[-1]), _NAMES.get(user_id, str(user_id)), command)


def _is_sshd(words: list[str]) -> bool:
    return words[0] == "sshd:" or words[0].rpartition("/")[2] == "sshd"
