"""A `python3` put before the board's own: it sees another wall clock, or what it prints is spoilt."""

from __future__ import annotations

import shutil
from pathlib import Path

from farm import faces
from farm._errors import FarmUnavailable
from farm._host import write

#: Every N-th line is spoilt while a board is corrupt.
_SPOIL_EVERY = 7


def set_garbling(control: Path, on: bool) -> None:
    """Spoil what `python3` prints from now on, or no longer."""
    program = control / "garble.py"
    if on:
        shutil.copyfile(faces.PROGRAMS / "garble.py", program)
    else:
        program.unlink(missing_ok=True)
    _wrap(control)


def set_skew(control: Path, seconds: float) -> None:
    """Shift the wall clock of programs started from now on; raise FarmUnavailable without libfaketime."""
    environment = {}
    if seconds:
        environment = {
            "LD_PRELOAD": _library(),
            "FAKETIME": f"{seconds:+f}",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
    write(control / "environment", "".join(f"{key}={value}\n" for key, value in environment.items()))
    _wrap(control)


def _library() -> str:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise FarmUnavailable("clocks cannot be skewed here", "", "Run: apt-get install libfaketime")
    return str(found[0])


def _wrap(control: Path) -> None:
    """Write the `python3`, which sets its environment itself: programs are often started with a fresh one."""
    settings = (control / "environment").read_text().split()
    spoils = (control / "garble.py").exists()
    wrapper = control / "bin" / "python3"
    if not settings and not spoils:
        wrapper.unlink(missing_ok=True)
        return
    exports = "".join(f"export {setting}\n" for setting in settings)
    garbler = f"/usr/bin/python3 -I -S /etc/farm/garble.py {_SPOIL_EVERY} " if spoils else ""
    write(wrapper, f'#!/bin/sh\n{exports}exec {garbler}/usr/bin/python3 "$@"\n', 0o755)
