"""A limit on what this process may still allocate."""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: glibc's numbers of what `mallopt` sets.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGE = 64 << 10


@contextmanager
def limited_memory(extra_bytes: int) -> Iterator[bool]:
    """Let this process allocate so much beyond what it holds now, and no more; say whether the system can do that.

    What exceeds it fails as if memory had run out: MemoryError, RuntimeError from torch, or the end of the process by
    a signal. Addresses count, used or not, so that what is used stays below the limit.
    """
    soft, most = resource.getrlimit(resource.RLIMIT_DATA)
    held = _held_bytes()
    if held is None:
        yield False
        return
    limit = held + max(0, extra_bytes)
    for other in (soft, most):
        limit = limit if other == resource.RLIM_INFINITY else min(limit, other)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    except (OSError, ValueError):
        yield False
        return
    try:
        yield True
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, most))


def give_memory_back() -> None:
    """Let blocks from 64 KiB on go back to the system when they are freed: else glibc keeps 20 to 40 % more."""
    with suppress(AttributeError, OSError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_MMAP_THRESHOLD, _LARGE)
        set_option(_TRIM_THRESHOLD, _LARGE)


def _held_bytes() -> int | None:
    """Return the private writable memory of this process, None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), None)
