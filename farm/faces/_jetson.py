"""What Jetsons have in common below /sys: a GPU and a memory clock that can be scaled, in Hz."""

from __future__ import annotations

from farm.faces import Link, Tree

EMC = "kernel/debug/bpmp/debug/clk/emc"


def gpu(device: str, name: str, frequencies_hz: list[int], load: int = 0) -> Tree:
    """Return a GPU's clock; `load` in thousandths."""
    folder = f"devices/{device}/devfreq/{device}"
    values = {
        "cur_freq": frequencies_hz[0],
        "min_freq": frequencies_hz[0],
        "max_freq": frequencies_hz[-1],
        "available_frequencies": " ".join(map(str, frequencies_hz)),
        "governor": "nvhost_podgov",
    }
    return {
        **{f"{folder}/{key}": f"{value}\n" for key, value in values.items()},
        f"{folder}/device": Link("../.."),
        f"devices/{device}/load": f"{load}\n",
        f"devices/{device}/of_node/name": f"{name}\0",
        f"class/devfreq/{device}": Link(f"../../{folder}"),
    }


def memory_clock(rate_hz: int, low_hz: int, high_hz: int) -> Tree:
    """Return the memory's clock, which root alone may look at."""
    values = {"rate": rate_hz, "min_rate": low_hz, "max_rate": high_hz, "mrq_rate_locked": 0}
    return {f"{EMC}/{key}": f"{value}\n" for key, value in values.items()}


def power_modes(modes: list[tuple[str, int, int]], default: int) -> str:
    """Return /etc/nvpmodel.conf: name, highest clock of the cores (kHz) and of the GPU (Hz) of every mode."""
    lines = [
        f"< POWER_MODEL ID={number} NAME={name} >\nCPU_A78_0 MAX_FREQ {cpu_khz}\nGPU MAX_FREQ {gpu_hz}\n"
        for number, (name, cpu_khz, gpu_hz) in enumerate(modes)
    ]
    return "\n".join([*lines, f"< PM_CONFIG DEFAULT={default} >\n"])


PROGRAMS = {
    "/usr/sbin/nvpmodel": "nvpmodel",
    "/usr/bin/jetson_clocks": "jetson_clocks",
    "/usr/bin/tegrastats": "tegrastats",
    "/usr/src/tensorrt/bin/trtexec": "trtexec",
    "/usr/local/bin/trtexec": "trtexec",
}
