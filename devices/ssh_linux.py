"""Any Linux machine that SSH reaches.

kind = "ssh_linux"

[ssh]
host = "bench-pc"
"""

from __future__ import annotations

from devices._board import Board


class SshLinux(Board):
    """A Linux machine without sensors of a kind of its own."""
