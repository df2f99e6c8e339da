"""The lease of a machine's cores: a lock that the kernel frees when its owner dies, and a note of who holds it."""

import fcntl
import json
import os
import tempfile
from typing import Any, Dict, Optional

_NOTE_BYTES = 4096


class Held(Exception):
    """Somebody else holds the lease; `owner` is the note they left, empty where it cannot be read."""

    def __init__(self, owner: Dict[str, Any]) -> None:
        super().__init__("held by %s" % describe(owner))
        self.owner = owner


def folder() -> str:
    """Return the folder of all leases on this machine, the same for every workspace and user."""
    return os.path.join(tempfile.gettempdir(), "hilnas-leases")


def take(where: str, resource: str, owner: Dict[str, Any]) -> int:
    """Return the descriptor that holds the lease of a resource (`cpu`) until it is closed; raise Held or OSError.

    The file stays behind; only the lock on it counts, so nothing has to be cleaned after a crash.
    """
    os.makedirs(where, exist_ok=True)
    try:
        os.chmod(where, 0o1777)  # whatever the umask: other users lease here too
    except PermissionError:
        pass  # somebody else's folder, open already
    descriptor = _open(os.path.join(where, resource + ".lock"))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        found = _note_of(descriptor)
        os.close(descriptor)
        raise Held(found) from None
    note(descriptor, owner)
    return descriptor


def note(descriptor: int, owner: Dict[str, Any]) -> None:
    """Write down who holds the lease and until when."""
    data = json.dumps(owner).encode()[:_NOTE_BYTES]
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)
    except OSError:
        pass  # a full disk: the lock itself counts


def describe(owner: Dict[str, Any]) -> str:
    """Return a holder's note as people read it."""
    if not owner:
        return "an unknown process"
    text = "%s (process %s) since %s" % (owner.get("owner", "somebody"), owner.get("pid"), owner.get("since"))
    expires = owner.get("expires")
    text += ", at the latest until %s" % expires if expires else ""
    return "".join(char if char.isprintable() else " " for char in text)[:300]


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
    except PermissionError:
        return os.open(path, flags)  # kernels refuse O_CREAT on another user's file in a sticky folder
    try:
        os.fchmod(descriptor, 0o666)
    except PermissionError:
        pass  # another user's file, open already
    return descriptor


def _note_of(descriptor: int) -> Dict[str, Any]:
    try:
        found: Optional[Any] = json.loads(os.pread(descriptor, _NOTE_BYTES, 0).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
