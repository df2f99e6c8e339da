"""An NVIDIA GPU of this machine, measured by the agent in processes of its own.

kind = "local_cuda"
backend = "torch_eager"  # or torch_compile, onnxruntime, trtexec

[options]
device = "cuda:0"  # its number as in nvidia-smi, or its UUID
copies = true      # a call includes bringing its input to the GPU and its output back
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from devices._base import Check
from devices._config import DeviceConfig
from devices._local import LocalDevice
from devices.agent.sensors import nvml
from hilnas.errors import DeviceError, UsageError
from hilnas.records import MeasurementProtocol

_REMEDIES = {
    "torch_eager": "install torch with CUDA: the selector on pytorch.org/get-started names the command",
    "torch_compile": "install torch with CUDA: the selector on pytorch.org/get-started names the command",
    "onnxruntime": "pip uninstall onnxruntime; pip install onnxruntime-gpu",
}
_BACKENDS = ("torch_eager", "torch_compile", "onnxruntime", "trtexec")


class LocalCuda(LocalDevice):
    """One GPU of the machine hilnas runs on."""

    default_backend = "torch_eager"
    #: Clocks need a second to rise; every worker imports its runtime and makes its own CUDA context.
    protocol = replace(
        MeasurementProtocol(), min_warmup_s=1.0, max_warmup_s=8.0, min_measure_s=0.4, max_measure_s=1.5, timeout_s=180.0
    )

    def leases(self) -> tuple[str, ...]:
        """Return the GPU by its UUID where the driver says it: two names may mean one GPU."""
        return (f"gpu-{self._gpu().removeprefix('GPU-').replace('/', '-')}",)

    def effective(self) -> DeviceConfig:
        """Return the config with the GPU's UUID and a provider that runs there; raise UsageError for other backends."""
        if self.backend not in _BACKENDS:
            raise UsageError(
                f"{self.config.name}: the backend {self.backend!r} does not run on an NVIDIA GPU",
                f"These do: {', '.join(_BACKENDS)}.",
                'Choose one of them, or write: kind = "local_cpu"',
            )
        options = self.config.options
        changed: dict[str, Any] = {"device": self._gpu()}
        if self.backend == "onnxruntime" and options.provider == "cpu":
            changed["provider"] = "cuda"
        return self.config.model_copy(update={"options": options.model_copy(update=changed)})

    def sensors(self) -> Mapping[str, Any]:
        """Return which GPU the sensor looks at."""
        return {"nvml": {"device": self._gpu()}}

    def remedy(self) -> str:
        """Return what brings a runtime with CUDA to this machine."""
        return _REMEDIES.get(self.backend) or super().remedy()

    def checks(self) -> list[Check]:
        """Return driver, GPU, runtime and readiness; without a GPU what is missing, and the next command."""
        try:
            missing = nvml.problem(self._named())
        except DeviceError as error:
            missing = error.what
        found = [] if missing is None else [Check("gpu", False, missing, _remedy(missing))]
        return [*found, *super().checks()]

    def _gpu(self) -> str:
        """Return the UUID of the GPU, or what the config says where the driver does not answer."""
        uuid = nvml.read_or_nothing(self._named()).get("uuid")
        return str(uuid) if uuid else self._named()

    def _named(self) -> str:
        """Return the GPU of the config; where CUDA_VISIBLE_DEVICES is set, `cuda:0` is the first it names."""
        device = self.config.options.device or "cuda:0"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if not (visible and device.startswith("cuda:")):
            return device
        names, index = visible.split(","), int(device.removeprefix("cuda:"))
        if index >= len(names):
            raise DeviceError(f"{self.config.name}: there is no {device}", f"CUDA_VISIBLE_DEVICES is {visible}.")
        name = names[index].strip()
        return f"cuda:{name}" if name.isdigit() else name


def _remedy(missing: str) -> str:
    if "nvidia-ml-py" in missing:
        return "pip install nvidia-ml-py"
    if "there is no " in missing:
        return "nvidia-smi -L lists the GPUs; set options.device to one of them"
    return "install NVIDIA's driver (on Ubuntu: sudo ubuntu-drivers install), then look at: nvidia-smi"
