"""Trees below /sys that several boards have: cores with clocks, thermal zones, the device tree."""

from __future__ import annotations

from pathlib import Path

from farm.faces import Link, Tree

_CPU = "devices/system/cpu"


def cores(policies: dict[str, int], frequencies_khz: list[int], governors: str, driver: str) -> dict[str, str | Link]:
    """Return cores with clocks; `policies` maps ranges of cores with one clock (`0-3`) to that clock in kHz."""
    count = max(int(text.rpartition("-")[2]) for text in policies) + 1
    everyone = f"0-{count - 1}\n"
    tree: dict[str, str | Link] = {f"{_CPU}/{name}": everyone for name in ("possible", "present", "online")}
    tree[f"{_CPU}/offline"] = "\n"
    for text, current_khz in policies.items():
        first, last = (int(number) for number in text.split("-"))
        folder = f"{_CPU}/cpufreq/policy{first}"
        members = " ".join(map(str, range(first, last + 1))) + "\n"
        tree.update(_policy(folder, frequencies_khz, current_khz, governors, driver, members))
        for core in range(first, last + 1):
            tree[f"{_CPU}/cpu{core}/cpufreq"] = Link(f"../cpufreq/policy{first}")
            tree[f"{_CPU}/cpu{core}/topology/core_id"] = f"{core}\n"
            tree[f"{_CPU}/cpu{core}/topology/physical_package_id"] = "0\n"
            tree[f"{_CPU}/cpu{core}/online"] = "1\n"
    return tree


def _policy(
    folder: str, frequencies_khz: list[int], current_khz: int, governors: str, driver: str, members: str
) -> dict[str, str]:
    low, high = frequencies_khz[0], frequencies_khz[-1]
    values = {
        "affected_cpus": members,
        "related_cpus": members,
        "cpuinfo_min_freq": f"{low}\n",
        "cpuinfo_max_freq": f"{high}\n",
        "scaling_min_freq": f"{low}\n",
        "scaling_max_freq": f"{high}\n",
        "scaling_cur_freq": f"{current_khz}\n",
        "scaling_available_frequencies": " ".join(map(str, frequencies_khz)) + "\n",
        "scaling_available_governors": governors + "\n",
        "scaling_governor": governors.split()[0] + "\n",
        "scaling_driver": driver + "\n",
    }
    return {f"{folder}/{name}": value for name, value in values.items()}


def thermal_zones(zones: dict[str, int]) -> dict[str, str | Link]:
    """Return thermal zones: type to thousandths of a degree Celsius."""
    tree: dict[str, str | Link] = {}
    for number, (kind, value) in enumerate(zones.items()):
        folder = f"devices/virtual/thermal/thermal_zone{number}"
        tree.update({f"{folder}/type": f"{kind}\n", f"{folder}/temp": f"{value}\n", f"{folder}/mode": "enabled\n"})
        tree[f"class/thermal/thermal_zone{number}"] = Link(f"../../{folder}")
    return tree


def device_tree(model: str, *compatible: str) -> Tree:
    """Return the device tree's identity, where /proc/device-tree points to on a real board.

    /proc itself cannot get a new entry on a machine without a device tree, so there is no /proc/device-tree.
    """
    base = "firmware/devicetree/base"
    return {f"{base}/model": f"{model}\0", f"{base}/compatible": "".join(f"{word}\0" for word in compatible)}


def arm_cpuinfo(count: int, part: str, tail: str) -> str:
    """Return /proc/cpuinfo of ARM cores."""
    core = (
        "processor\t: {}\nBogoMIPS\t: 108.00\n"
        "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: {}\nCPU revision\t: 1\n\n"
    )
    return "".join(core.format(number, part) for number in range(count)) + tail


def set_value(path: Path, value: int | str) -> None:
    """Change a file of the tree in place: it is shown on the board, where a new file would not be seen."""
    path.write_text(f"{value}\n")
