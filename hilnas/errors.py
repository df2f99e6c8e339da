"""The one tree of errors that stop a command.

    HilnasError                 exit 1
    ├── UsageError              exit 2   what was asked for makes no sense
    │   ├── UnknownName         exit 2   no such device, space, predictor, searcher ...
    │   └── BadFile             exit 2   a file, table or database that cannot be used
    ├── Infeasible              exit 3   nothing can meet the constraint
    ├── GateFailed              exit 3   a --gate does not hold
    ├── DeviceError             exit 4   the device cannot be used (its subclasses live in devices/)
    └── Inconclusive            exit 5   measured, but not well enough to say

The failure of one candidate is a value (`Run.status`), never one of these.
"""

from __future__ import annotations

import copyreg
import difflib
from collections.abc import Iterable
from typing import Any


class HilnasError(Exception):
    """An error a user can act on: what happened, its likely cause, the next command."""

    exit_code = 1

    def __init__(self, what: str, cause: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.cause, self.remedy) if part)

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors of worker processes are pickled, and a kind may be made from other arguments than it keeps.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UsageError(HilnasError):
    """What was asked for makes no sense."""

    exit_code = 2


class UnknownName(UsageError):
    """No such thing; the nearest names are suggested."""

    def __init__(self, noun: str, name: str, known: Iterable[str], remedy: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        listed = ", ".join(names) if names else "none"
        super().__init__(f"unknown {noun} {name!r}", f"{hint}Known: {listed}.", remedy)


class BadFile(UsageError):
    """A file, table or database that cannot be used."""


class Infeasible(HilnasError):
    """Nothing can meet the constraint."""

    exit_code = 3


class GateFailed(HilnasError):
    """A gate on the command line does not hold."""

    exit_code = 3


class DeviceError(HilnasError):
    """The device cannot be used."""

    exit_code = 4


class Inconclusive(HilnasError):
    """Measured, but not well enough to say."""

    exit_code = 5
