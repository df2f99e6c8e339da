"""The GPU that is measured is the only one its processes see; so it is always number 0 there."""

import os
from typing import Any, Dict


def select(options: Dict[str, Any]) -> bool:
    """Hide all GPUs but the one in `device` (`cuda:1`, in the order of the bus as in nvidia-smi, or a UUID).

    To be called before the runtime is imported. Return whether a GPU is asked for.
    """
    device = str(options.get("device") or "")
    if not device:
        return False
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    if options.get("precision", "fp32") == "fp32":
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # float32 is float32, in every library of NVIDIA's
    os.environ["CUDA_VISIBLE_DEVICES"] = device[len("cuda:") :] if device.startswith("cuda:") else device
    return True
