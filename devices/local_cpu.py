"""This machine's CPU, measured by the agent in processes of its own.

kind = "local_cpu"
backend = "onnxruntime"  # or openvino, ncnn, torch_eager, torch_compile

[options]
threads = 1
"""

from __future__ import annotations

from devices._config import DeviceConfig
from devices._local import LocalDevice
from hilnas.errors import UsageError


class LocalCpu(LocalDevice):
    """The CPU of the machine hilnas runs on."""

    default_backend = "onnxruntime"

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
