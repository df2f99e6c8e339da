"""The facts of a board that decide whether a wheel fits it: Python, machine, C library.

Facts are those of an agent's first line: `machine`, `python`, `implementation`, `libc`, and `bits` where it is known
(a 32-bit Python can run on a 64-bit processor). They are not trusted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags

from hilnas.errors import DeviceError

_NARROW = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}
_ALIASES = {"arm64": "aarch64", "amd64": "x86_64"}
#: Names from before manylinux tags said the version of glibc themselves.
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class Board:
    """What of a board's facts decides whether a wheel fits."""

    python: tuple[int, int]
    version: str
    implementation: str
    machine: str
    libc: str
    libc_version: tuple[int, int] | None

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Board:
        """Return the board of an agent's facts; raise DeviceError for facts that make no sense."""
        version, machine = str(facts.get("python", "")), str(facts.get("machine", "")).lower()
        python = re.match(r"(\d)\.(\d{1,2})(?!\d)(\.\d{1,3})?", version, re.ASCII)
        if python is None or not re.fullmatch(r"[a-z0-9_]{1,32}", machine):
            raise DeviceError(
                f"no wheel can be named for Python {version[:40]!r} on {machine[:40]!r}",
                "The agent must name its Python version and machine.",
                "Run: hilnas devices doctor NAME",
            )
        machine = _ALIASES.get(machine, machine)
        if facts.get("bits") == 32:
            machine = _NARROW.get(machine, machine)
        stated = facts.get("libc")
        libc = [*(str(item) for item in (stated if isinstance(stated, list | tuple) else ())), "", ""]
        found = re.match(r"(\d)\.(\d{1,2})(?!\d)", libc[1], re.ASCII)
        return cls(
            (int(python[1]), int(python[2])),
            python[0],
            str(facts.get("implementation", "cpython")).lower(),
            machine,
            libc[0].lower(),
            (int(found[1]), int(found[2])) if found else None,
        )

    def __str__(self) -> str:
        libc = f" with {self.libc} {_dotted(self.libc_version)}" if self.libc_version else ""
        return f"Python {self.text} on {self.machine}{libc}"

    @property
    def text(self) -> str:
        """Return the Python version as pip takes it."""
        return _dotted(self.python)

    @property
    def platforms(self) -> list[str]:
        """Return the platforms of wheels that fit, best first."""
        found = []
        if self.libc == "glibc" and self.libc_version is not None and self.libc_version[0] == 2:
            least = 5 if self.machine in ("x86_64", "i686") else 17
            for minor in range(self.libc_version[1], least - 1, -1):
                found.append(f"manylinux_2_{minor}_{self.machine}")
                if minor in _LEGACY:
                    found.append(f"{_LEGACY[minor]}_{self.machine}")
        if self.libc == "musl" and self.libc_version is not None and self.libc_version[0] == 1:
            found += [f"musllinux_1_{minor}_{self.machine}" for minor in range(self.libc_version[1], -1, -1)]
        return found or [f"linux_{self.machine}"]

    @cached_property
    def tags(self) -> list[Tag]:
        """Return the tags of wheels that fit, best first."""
        number = "".join(map(str, self.python))
        if self.implementation != "cpython":
            return list(compatible_tags(self.python, platforms=self.platforms))
        abi = f"cp{number}m" if self.python < (3, 8) else f"cp{number}"
        return [
            *cpython_tags(self.python, [abi], self.platforms),
            *compatible_tags(self.python, f"cp{number}", self.platforms),
        ]

    @property
    def markers(self) -> dict[str, str]:
        """Return what markers of requirements are evaluated with."""
        return {
            "implementation_name": self.implementation,
            "implementation_version": self.version,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython" if self.implementation == "cpython" else self.implementation,
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.version,
            "python_version": self.text,
            "sys_platform": "linux",
            "extra": "",
        }


def _dotted(version: tuple[int, ...] | None) -> str:
    return ".".join(map(str, version or ()))
