"""The governor of every clock domain: who chooses the clock."""

import os
from typing import Any, Dict, List, Optional

from ..sensors._base import matching, read_text, rooted
from ._base import NeedsPassword, PowerUnavailable, is_root, me, privileged, sudoers_lines, text_of, wait_until

_POLICIES = "/sys/devices/system/cpu/cpufreq/policy[0-9]*"
_WORD = "[a-z_]{1,32}"


def apply(options: Dict[str, Any]) -> Dict[str, Any]:
    """Set the governor in `options` (default performance) everywhere, and return those there were.

    When one cannot be set those before it are put back. Raise PowerUnavailable where the machine has no governors, not
    this one, or keeps its own; NeedsPassword where it may not be written.
    """
    wanted = text_of(dict({"governor": "performance"}, **options), "governor", _WORD)
    before = {folder: read_text(folder + "/scaling_governor") for folder in matching(_POLICIES)}
    if not before:
        raise PowerUnavailable("this machine shows no governors (a virtual machine, or no cpufreq)")
    for folder in before:
        available = read_text(folder + "/scaling_available_governors")
        if available is not None and wanted not in available.split():
            raise PowerUnavailable("no governor %r here, only: %s" % (wanted, available[:200]))
    record: Dict[str, str] = {}
    try:
        for folder, governor in before.items():
            record[os.path.basename(folder)] = governor or ""
            _set(folder, wanted)
    except (PowerUnavailable, NeedsPassword):
        _put_back(record)
        raise
    return {"governors": record}


def undo(record: Dict[str, Any]) -> None:
    """Put back the governors of a record; raise as `apply` does."""
    problem = _put_back(dict(record.get("governors") or {}))
    if problem is not None:
        raise problem


def sudoers(user: str) -> List[str]:
    """Return the lines that allow a user to set governors, one a file: a wildcard would match other files too."""
    return sudoers_lines(
        user, [["tee", folder[len(rooted("")) :] + "/scaling_governor"] for folder in matching(_POLICIES)]
    )


def _put_back(governors: Dict[str, Any]) -> Optional[Exception]:
    """Put back whatever can be, and return what went wrong last."""
    problem: Optional[Exception] = None
    for folder in matching(_POLICIES):
        name = os.path.basename(folder)
        try:
            if governors.get(name):
                _set(folder, text_of(governors, name, _WORD))
        except (PowerUnavailable, NeedsPassword) as error:
            problem = error
    return problem


def _set(folder: str, governor: str) -> None:
    path = folder + "/scaling_governor"
    if read_text(path) == governor:
        return
    if is_root() or os.access(path, os.W_OK):
        try:
            with open(path, "w") as file:
                file.write(governor)
        except OSError as error:
            raise PowerUnavailable("%s: %s" % (path, error.strerror)) from None
    else:
        privileged(["tee", path], lambda: sudoers(me()), governor)
    if not wait_until(lambda: read_text(path) == governor):
        raise PowerUnavailable("%s stayed at %s" % (path, read_text(path)))
