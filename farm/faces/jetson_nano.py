"""A Jetson Nano with JetPack 4 (L4T R32): rails in iio, a warning before every power mode, an old trtexec.

Its Python is the machine's, not the 3.6 of a real one.
"""

from __future__ import annotations

from pathlib import Path

from farm.faces import Face, Link, Tree
from farm.faces._jetson import PROGRAMS, gpu, memory_clock, power_modes
from farm.faces._parts import arm_cpuinfo, cores, device_tree, set_value, thermal_zones

_RELEASE = (
    "# R32 (release), REVISION: 7.4, GCID: 33514132, BOARD: t210ref, EABI: aarch64, "
    "DATE: Fri Jun  9 04:25:08 UTC 2023\n"
)
_FREQUENCIES_KHZ = [102_000, 204_000, 518_400, 710_400, 918_000, 1_224_000, 1_479_000]
_GPU_HZ = [76_800_000, 153_600_000, 307_200_000, 460_800_000, 614_400_000, 768_000_000, 921_600_000]
_MODES = [("MAXN", 1_479_000, 921_600_000), ("5W", 918_000, 640_000_000)]


def throttle(sys_tree: Path, on: bool) -> None:
    """Grow hot and slow; a Nano counts no over-current events."""
    set_value(sys_tree / "devices/virtual/thermal/thermal_zone1/temp", 97_500 if on else 23_500)
    set_value(sys_tree / "devices/system/cpu/cpufreq/policy0/scaling_max_freq", 918_000 if on else 1_479_000)


def _rails(rails: dict[str, tuple[int, int]]) -> Tree:
    """Return the INA3221's channels as JetPack 4 shows them: millivolt and milliampere by rail, milliwatt beside."""
    device = "devices/7000c400.i2c/i2c-6/6-0040"
    tree: dict[str, str | Link] = {}
    for number, (name, (millivolt, milliampere)) in enumerate(rails.items()):
        folder = f"{device}/iio:device0"
        tree[f"{folder}/rail_name_{number}"] = f"{name}\n"
        tree[f"{folder}/in_voltage{number}_input"] = f"{millivolt}\n"
        tree[f"{folder}/in_current{number}_input"] = f"{milliampere}\n"
        tree[f"{folder}/in_power{number}_input"] = f"{millivolt * milliampere // 1000}\n"
    tree["bus/i2c/drivers/ina3221x/6-0040"] = Link(f"../../../../{device}")
    return tree


FACE = Face(
    "jetson_nano",
    kind="jetson",
    description="stand-in of a Jetson Nano, JetPack 4",
    cpuinfo=arm_cpuinfo(4, "0xd07", ""),
    sys={
        **cores({"0-3": 102_000}, _FREQUENCIES_KHZ, "schedutil interactive ondemand performance", "tegra-cpufreq"),
        **thermal_zones(
            {
                "AO-therm": 27_500,
                "CPU-therm": 23_500,
                "GPU-therm": 22_500,
                "PLL-therm": 20_500,
                "PMIC-Die": 100_000,
                "thermal-fan-est": 23_000,
            }
        ),
        **device_tree("NVIDIA Jetson Nano Developer Kit", "nvidia,p3450-0000", "nvidia,jetson-nano", "nvidia,tegra210"),
        **gpu("57000000.gpu", "gpu", _GPU_HZ),
        **memory_clock(204_000_000, 40_800_000, 1_600_000_000),
        **_rails({"POM_5V_IN": (4976, 188), "POM_5V_GPU": (4976, 8), "POM_5V_CPU": (4976, 21)}),
    },
    files={
        "/etc/nv_tegra_release": _RELEASE,
        "/etc/nvpmodel.conf": power_modes(_MODES, default=0),
        "/var/lib/nvpmodel/status": "pmode:0000\n",
    },
    programs=PROGRAMS,
    at_boot=("/usr/sbin/nvpmodel", "--boot"),
    throttle=throttle,
)
