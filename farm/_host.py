"""The machine that stands in for boards: commands, processes that outlive us, waiting."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from farm._errors import FarmFailure

#: Everything a farm makes on the machine lies below this folder; it is removed by `python -m farm down`.
STATE = Path("/run/hilnas-farm")
#: What takes long to make and is used again: runtimes and the aarch64 root.
CACHE = Path("/var/cache/hilnas-farm")

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def call(*argv: str) -> str:
    """Run a command of the machine and return what it prints; raise FarmFailure with its own words."""
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=plain_environment())
    if done.returncode:
        raise FarmFailure(f"{' '.join(argv)} ended with status {done.returncode}", done.stderr.strip()[-800:])
    return done.stdout


def attempt(*argv: str) -> bool:
    """Run a command that may fail, and say whether it did not."""
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=plain_environment())
    return done.returncode == 0


def plain_environment() -> dict[str, str]:
    """Return an environment that knows where administrators' commands are, and no language."""
    return {**os.environ, "PATH": _PATH, "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Running:
    """A process of ours, told from a later one with the same number by its start time."""

    pid: int
    start_time: str

    @property
    def alive(self) -> bool:
        """Say whether it still runs; a zombie does not."""
        return start_time(self.pid) == self.start_time != ""

    def kill(self) -> None:
        """Kill it and wait until it has gone; raise FarmFailure after 5 s."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not self.alive, 5.0, f"the end of process {self.pid}")


def running(pid: int) -> Running:
    """Return what identifies a process."""
    return Running(pid, start_time(pid))


def start_time(pid: int) -> str:
    """Return when a process started, in the kernel's words; nothing for one that has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def spawn(argv: list[str], log: Path) -> Running:
    """Start a process that outlives us, in a session of its own; it prints to `log`."""
    # The shell ends at once, so that the machine's own init inherits the process and nobody has to wait for it.
    script = 'setsid "$@" </dev/null >>"$0" 2>&1 & echo $!'
    return running(int(call("/bin/sh", "-c", script, str(log), *argv)))


def only_child(pid: int) -> int | None:
    """Return the first child of a process, None before it has one."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Wait until a condition holds; raise FarmFailure when it does not in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise FarmFailure(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(0.003)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a whole file at once, with its mode, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text)
    part.chmod(mode)
    part.replace(path)
