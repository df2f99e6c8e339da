"""Programs that a sensor asks: found on PATH, never through a shell, limited in time and output."""

import os
import selectors
import shutil
import signal
import subprocess
import time
from typing import Any, Dict, List, NamedTuple, Optional

from ._base import SensorUnavailable

MAX_OUTPUT = 65536
_SYSTEM_FOLDERS = "/usr/sbin:/sbin"  # nvpmodel lies there, and a plain user's PATH may lack it


class Output(NamedTuple):
    """What a program said on stdout (with stderr, unless that was left out) and how it ended; code -9: we ended it."""

    code: int
    text: str


def find(name: str) -> str:
    """Return where a program lies; raise SensorUnavailable for one that is not installed."""
    folders = os.environ.get("PATH", os.defpath) + os.pathsep + _SYSTEM_FOLDERS
    path = shutil.which(name, path=folders)
    if path is None:
        raise SensorUnavailable("%s is not installed" % name)
    return path


def run(
    argv: List[str], timeout_s: float = 2.0, stdin: str = "", first_line: bool = False, with_stderr: bool = True
) -> Output:
    """Run a program to its end, or until its first line is there, and end whatever it started.

    Raise SensorUnavailable where it is not installed or may not be run, ValueError when it does not end in time or
    says more than 64 KiB.
    """
    command = [find(argv[0])] + argv[1:]
    stderr = subprocess.STDOUT if with_stderr else subprocess.DEVNULL
    pipes: Dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr}
    environment = dict(os.environ, LC_ALL="C")
    try:
        process = subprocess.Popen(command, bufsize=0, env=environment, start_new_session=True, **pipes)
    except OSError as error:
        raise SensorUnavailable("%s cannot be run: %s" % (argv[0], error.strerror)) from None
    try:
        _write(process, stdin)
        data = _collect(process, time.monotonic() + timeout_s, first_line)
        if data is None:
            raise ValueError("%s has not answered within %g s" % (argv[0], timeout_s))
        if len(data) > MAX_OUTPUT:
            raise ValueError("%s said more than %d bytes" % (argv[0], MAX_OUTPUT))
    finally:
        code = _end(process)
    return Output(code, data.decode("utf-8", "replace"))


def _write(process: Any, text: str) -> None:
    try:
        process.stdin.write(text.encode("utf-8"))
    except OSError:
        pass  # it does not read: what it says tells
    process.stdin.close()  # nothing is buffered: it cannot fail


def _collect(process: Any, deadline: float, first_line: bool) -> Optional[bytes]:
    """Return what was said until the end, the first line or the limit; None when time is up."""
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(data) <= MAX_OUTPUT and not (first_line and b"\n" in data):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            part = os.read(process.stdout.fileno(), MAX_OUTPUT)
            if not part:
                return data if _ends(process, deadline) else None
            data += part
    return data


def _ends(process: Any, deadline: float) -> bool:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: Any) -> int:
    """Kill the group that the program leads, its children too, and return how it ended."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # gone already, or run as root by sudo, which ends with its pipe
    process.stdout.close()
    try:
        return int(process.wait(1.0))
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL
