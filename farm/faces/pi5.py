"""A Raspberry Pi 5: vcgencmd, one clock for four cores, the firmware's throttle bits in /sys."""

from __future__ import annotations

from pathlib import Path

from farm.faces import Face
from farm.faces._parts import arm_cpuinfo, cores, device_tree, set_value, thermal_zones

_MODEL = "Raspberry Pi 5 Model B Rev 1.0"
_FREQUENCIES_KHZ = list(range(1_500_000, 2_400_001, 100_000))
_THROTTLED = "devices/platform/soc/soc:firmware/get_throttled"
#: Under-voltage and throttling: now, and (16 bits higher) since boot.
_NOW = 0x5
_STICKY = _NOW << 16


def throttle(sys_tree: Path, on: bool) -> None:
    """Set or clear the bits of now, set those that stick; a throttled Pi is hot and slow."""
    bits = int((sys_tree / _THROTTLED).read_text(), 16)
    set_value(sys_tree / _THROTTLED, f"{bits | _NOW | _STICKY if on else bits & ~0xF:x}")
    set_value(sys_tree / "devices/system/cpu/cpufreq/policy0/scaling_cur_freq", 1_500_000 if on else 2_400_000)
    set_value(sys_tree / "devices/virtual/thermal/thermal_zone0/temp", 85_350 if on else 61_250)


FACE = Face(
    "pi5",
    kind="raspberry_pi",
    description="stand-in of a Raspberry Pi 5",
    cpuinfo=arm_cpuinfo(4, "0xd0b", f"Revision\t: c04170\nSerial\t\t: 10000000a5b6c7d8\nModel\t\t: {_MODEL}\n"),
    sys={
        **cores(
            {"0-3": 2_400_000},
            _FREQUENCIES_KHZ,
            "ondemand conservative userspace powersave performance schedutil",
            "cpufreq-dt",
        ),
        **thermal_zones({"cpu-thermal": 61_250}),
        **device_tree(_MODEL, "raspberrypi,5-model-b", "brcm,bcm2712"),
        _THROTTLED: "0\n",
    },
    programs={"/usr/bin/vcgencmd": "vcgencmd"},
    throttle=throttle,
)
