"""A limit on what this process may still allocate."""

from __future__ import annotations

import resource
from pathlib import Path


def limit_memory(extra_bytes: int) -> bool:
    """Let this process allocate so much beyond what it holds now, and no more; return whether the system can do that.

    What exceeds it fails as if memory had run out: MemoryError, or RuntimeError from torch. Addresses count, used or
    not, so that what is used stays below the limit.
    """
    held = _held_bytes()
    if held is None:
        return False
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = held + extra_bytes
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (limit if most < 0 else min(limit, most), most))
    except (OSError, ValueError):
        return False
    return True


def _held_bytes() -> int | None:
    """Return the private writable memory of this process, None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), None)
