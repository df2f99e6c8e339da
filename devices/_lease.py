"""The lease of a device of this machine: the same lock that an agent takes on a board."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from devices._errors import DeviceBusy
from devices.agent import _lease


def lease_folder() -> Path:
    """Return the folder of all leases on this machine, the same for every workspace and user."""
    return Path(_lease.folder())


def owner_name() -> str:
    """Return who we are for others who want the same device."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


@contextmanager
def lease(resource: str) -> Iterator[None]:
    """Hold a resource of this machine (`cpu`) while the block runs; raise DeviceBusy when somebody else does."""
    owner = {"owner": owner_name(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        descriptor = _lease.take(str(lease_folder()), resource, owner)
    except _lease.Held as held:
        raise busy(f"this machine's {resource}", _lease.describe(held.owner)) from held
    try:
        yield
    finally:
        os.close(descriptor)


def busy(what: str, holder: str) -> DeviceBusy:
    """Return the error that tells who holds a device."""
    return DeviceBusy(
        f"somebody else is measuring on {what}",
        f"Held by {holder}.",
        "Wait until that campaign ends (hilnas profile --wait 10min), or stop it; then run the same command again.",
    )
