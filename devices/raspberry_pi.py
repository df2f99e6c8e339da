"""A Raspberry Pi behind SSH: throttling and under-voltage are seen, the Pi 5's rails are read.

kind = "raspberry_pi"

[ssh]
host = "pi5"
"""

from __future__ import annotations

from devices._board import Board


class RaspberryPi(Board):
    """A Raspberry Pi 3, 4 or 5."""

    expected_sensors = ("pi_throttle",)
