"""A plain x86 Linux machine: the host's own kernel, processor and /sys."""

from __future__ import annotations

from farm.faces import Face

FACE = Face("linux", kind="ssh_linux", description="plain Linux, x86")
