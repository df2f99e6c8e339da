"""An NVIDIA Jetson behind SSH: power mode, rails and over-current counters; ONNX Runtime or trtexec.

kind = "jetson"
backend = "trtexec"

[ssh]
host = "orin"
"""

from __future__ import annotations

from dataclasses import replace

from devices._board import Board


class Jetson(Board):
    """A Jetson Nano, Xavier, Orin or newer."""

    expected_sensors = ("l4t_release",)
    #: Building an engine takes minutes where a session takes milliseconds.
    protocol = replace(Board.protocol, timeout_s=1200.0)
