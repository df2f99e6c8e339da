"""The lease of a device of this machine: a lock that the kernel frees when its owner dies."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from devices._errors import DeviceBusy


def lease_folder() -> Path:
    """Return the folder of all leases on this machine, the same for every workspace and user."""
    return Path(tempfile.gettempdir()) / "hilnas-leases"


@contextmanager
def lease(resource: str) -> Iterator[None]:
    """Hold a resource of this machine (`cpu`) while the block runs; raise DeviceBusy when somebody else does.

    The file stays behind; only the lock on it counts, so nothing has to be cleaned after a crash.
    """
    folder = lease_folder()
    folder.mkdir(mode=0o1777, exist_ok=True)
    path = folder / f"{resource}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeviceBusy(
                f"somebody else is measuring on this machine's {resource}",
                f"Held by {_owner(descriptor)}.",
                "Wait until that campaign ends, or stop it; then run the same command again.",
            ) from error
        owner = {"pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _owner(descriptor: int) -> str:
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(owner['pid'])} since {str(owner['since'])[:40]}"
    except (ValueError, KeyError, TypeError):
        return "an unknown process"
