"""What a child process does first, and how a family of processes is ended."""

import ctypes
import os
import signal
import sys
from typing import List

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; end at once if that has happened already."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        pass  # not Linux: the end of the pipe still ends us
    if os.getppid() != parent:
        os._exit(1)


def kill_group(pid: int) -> None:
    """Kill the process group that a session leader has founded."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # gone already


def prefer_as_victim() -> None:
    """Let the kernel kill this process first when memory runs out, not the supervisor."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("800")
    except OSError:
        pass  # only a preference


def private_stdout() -> int:
    """Keep stdout for us and return it: whatever a runtime prints goes to stderr."""
    private = os.dup(1)
    os.dup2(2, 1)
    return private


def own_command() -> List[str]:
    """Return how to start this same program again, packed or not."""
    packed = sys.argv[0] if sys.argv[0].endswith(".pyz") else None
    return [sys.executable, "-I", "-u", "-B", packed] if packed else [sys.executable, "-u", "-m", __package__]
