"""This machine's CPU, measured by the agent in processes of its own.

kind = "local_cpu"
backend = "onnxruntime"  # or openvino, ncnn, torch_eager, torch_compile

[options]
threads = 1
"""

from __future__ import annotations

from devices._config import DeviceConfig
from devices._local import LocalDevice
from devices.agent._host import is_virtual
from hilnas.errors import UsageError

#: Long enough for a neighbour's burst to end, short enough that a campaign among steady neighbours still ends.
_VIRTUAL_PACE_WAIT_S = 20.0


class LocalCpu(LocalDevice):
    """The CPU of the machine hilnas runs on."""

    default_backend = "onnxruntime"

    def usual_pace_wait_s(self) -> float:
        """Return a wait where this machine is virtual: others may then use its cores unseen."""
        return _VIRTUAL_PACE_WAIT_S if is_virtual() else 0.0

    def leases(self) -> tuple[str, ...]:
        """Return the CPU."""
        return ("cpu",)

    def effective(self) -> DeviceConfig:
        """Return the config; raise UsageError where it names a GPU."""
        if self.config.options.device:
            raise UsageError(
                f"{self.config.name} is a CPU, and its options name the GPU {self.config.options.device}",
                "",
                'For a GPU write: kind = "local_cuda"',
            )
        return self.config
