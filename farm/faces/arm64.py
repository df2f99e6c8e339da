"""A Raspberry Pi 4 with a real aarch64 userland under emulation: true instructions and wheels, no speed."""

from __future__ import annotations

from farm.faces import Face
from farm.faces._parts import arm_cpuinfo, cores, device_tree, thermal_zones

_MODEL = "Raspberry Pi 4 Model B Rev 1.5"

FACE = Face(
    "arm64",
    kind="ssh_linux",
    description="aarch64 userland under emulation, looks like a Raspberry Pi 4",
    cpuinfo=arm_cpuinfo(
        4, "0xd08", f"Hardware\t: BCM2835\nRevision\t: c03115\nSerial\t\t: 10000000e1f2a3b4\nModel\t\t: {_MODEL}\n"
    ),
    sys={
        **cores({"0-3": 1_800_000}, [600_000, 1_500_000, 1_800_000], "ondemand performance", "cpufreq-dt"),
        **thermal_zones({"cpu-thermal": 48_312}),
        **device_tree(_MODEL, "raspberrypi,4-model-b", "brcm,bcm2711"),
    },
    aarch64=True,
)
