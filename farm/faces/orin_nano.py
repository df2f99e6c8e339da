"""A Jetson Orin Nano with JetPack 6 (L4T R36): rails in hwmon, over-current counters, four power modes."""

from __future__ import annotations

from pathlib import Path

from farm.faces import Face, Link, Tree
from farm.faces._jetson import PROGRAMS, gpu, memory_clock, power_modes
from farm.faces._parts import arm_cpuinfo, cores, device_tree, set_value, thermal_zones

_RELEASE = (
    "# R36 (release), REVISION: 4.4, GCID: 41062509, BOARD: generic, EABI: aarch64, "
    "DATE: Mon Jun 16 16:07:13 UTC 2025\n"
    "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
    "TARGET_USERSPACE_LIB_DIR_PATH=usr/lib/aarch64-linux-gnu/nvidia\n"
)
_MODEL = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
_FREQUENCIES_KHZ = [115_200, 729_600, 960_000, 1_344_000, 1_510_400, 1_728_000]
_GPU_HZ = [306_000_000, 408_000_000, 612_000_000, 918_000_000, 1_020_000_000]
_OC = "devices/platform/soctherm-oc-event/hwmon/hwmon2"
_MODES = [
    ("15W", 1_510_400, 612_000_000),
    ("25W", 1_344_000, 918_000_000),
    ("MAXN_SUPER", 1_728_000, 1_020_000_000),
    ("7W", 960_000, 408_000_000),
]


def throttle(sys_tree: Path, on: bool) -> None:
    """Count over-current events, as a real board does while it throttles, and grow hot."""
    if on:
        for name, grown in (("oc1_event_cnt", 1), ("oc3_event_cnt", 7)):
            path = sys_tree / _OC / name
            set_value(path, int(path.read_text()) + grown)
    set_value(sys_tree / "devices/virtual/thermal/thermal_zone0/temp", 97_500 if on else 48_468)


def _rails(rails: dict[str, tuple[int, int]]) -> Tree:
    """Return the INA3221's channels: millivolt and milliampere by rail; the seventh is a sum that means nothing."""
    device = "devices/platform/bus@0/c240000.i2c/i2c-1/1-0040"
    folder = f"{device}/hwmon/hwmon1"
    tree: dict[str, str | Link] = {f"{folder}/name": "ina3221\n", f"{folder}/samples": "1\n"}
    tree[f"{folder}/update_interval"] = "20\n"
    for number, (label, (millivolt, milliampere)) in enumerate(rails.items(), 1):
        tree[f"{folder}/in{number}_label"] = f"{label}\n"
        tree[f"{folder}/in{number}_input"] = f"{millivolt}\n"
        tree[f"{folder}/curr{number}_input"] = f"{milliampere}\n"
        tree[f"{folder}/curr{number}_crit_alarm"] = tree[f"{folder}/curr{number}_max_alarm"] = "0\n"
    tree[f"{folder}/in7_label"] = "sum of shunt voltages\n"
    tree[f"{folder}/in7_input"] = "8\n"
    tree["bus/i2c/drivers/ina3221/1-0040"] = Link(f"../../../../{device}")
    tree["class/hwmon/hwmon1"] = Link(f"../../{folder}")
    return tree


def _over_current() -> Tree:
    counts = {f"{_OC}/oc{number}_event_cnt": "0\n" for number in (1, 2, 3)}
    switches = {f"{_OC}/oc{number}_throt_en": "1\n" for number in (1, 2, 3)}
    return {f"{_OC}/name": "soctherm_oc\n", **counts, **switches, "class/hwmon/hwmon2": Link(f"../../{_OC}")}


FACE = Face(
    "orin_nano",
    kind="jetson",
    description="stand-in of a Jetson Orin Nano, JetPack 6",
    cpuinfo=arm_cpuinfo(6, "0xd42", ""),
    sys={
        **cores(
            {"0-3": 729_600, "4-5": 729_600},
            _FREQUENCIES_KHZ,
            "schedutil conservative ondemand userspace powersave performance",
            "tegra194",
        ),
        **thermal_zones(
            {
                "cpu-thermal": 48_468,
                "gpu-thermal": 47_906,
                "cv0-thermal": -256_000,
                "soc2-thermal": 47_531,
                "tj-thermal": 49_156,
            }
        ),
        **device_tree(_MODEL, "nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"),
        **gpu("17000000.gpu", "gpu", _GPU_HZ),
        **memory_clock(2_133_000_000, 204_000_000, 3_199_000_000),
        **_rails({"VDD_IN": (5064, 940), "VDD_CPU_GPU_CV": (5064, 102), "VDD_SOC": (5064, 282)}),
        **_over_current(),
    },
    files={
        "/etc/nv_tegra_release": _RELEASE,
        "/etc/nvpmodel.conf": power_modes(_MODES, default=2),
        "/var/lib/nvpmodel/status": "pmode:0002\n",
    },
    programs=PROGRAMS,
    at_boot=("/usr/sbin/nvpmodel", "--boot"),
    throttle=throttle,
)
