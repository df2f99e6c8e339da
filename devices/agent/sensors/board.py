"""Which machine this is: model, cores, memory, and since when it runs."""

import hashlib
import re
from typing import Any, Dict, Optional

from ._base import SensorUnavailable, device_tree, finite, read_text, rooted, value_in

#: Part numbers of implementer 0x41 (Arm), as far as boards have them, and Nvidia's own by 0x4e.
_ARM = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0D: "Cortex-A77",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD83: "Neoverse-V3AE",
    0xC07: "Cortex-A7",
    0xC08: "Cortex-A8",
    0xC09: "Cortex-A9",
    0xC0F: "Cortex-A15",
}
_NVIDIA = {0x003: "Denver 2", 0x004: "Carmel"}


def read() -> Dict[str, Any]:
    """Return model, cores by name, memory_bytes, swap_bytes, boot_id, uptime_s and a hash of the serial number.

    What the machine does not tell is None. Raise SensorUnavailable where there is no /proc.
    """
    memory = read_text(rooted("/proc/meminfo"))
    if memory is None:
        raise SensorUnavailable("/proc/meminfo cannot be read")
    cpuinfo = read_text(rooted("/proc/cpuinfo")) or ""
    uptime = read_text(rooted("/proc/uptime"))
    return {
        "model": device_tree("model") or None,
        "cpu_parts": parse_cpu_parts(cpuinfo),
        "memory_bytes": parse_meminfo(memory, "MemTotal"),
        "swap_bytes": parse_meminfo(memory, "SwapTotal"),
        "boot_id": (read_text(rooted("/proc/sys/kernel/random/boot_id")) or "")[:64] or None,
        "uptime_s": finite(uptime.split()[0]) if uptime else None,
        "serial_hash": _hashed(device_tree("serial-number") or _serial(cpuinfo)),
    }


def parse_cpu_parts(text: str) -> Dict[str, int]:
    """Return how many cores of which kind /proc/cpuinfo of an Arm lists; an unknown kind goes by its numbers."""
    found: Dict[str, int] = {}
    implementer = 0
    for key, value in re.findall(r"^CPU (implementer|part)\s*:\s*0x([0-9a-fA-F]{1,4})\s*$", text, re.MULTILINE):
        if key == "implementer":
            implementer = int(value, 16)
            continue
        table = {0x41: _ARM, 0x4E: _NVIDIA}.get(implementer, {})
        name = table.get(int(value, 16), "0x%02x:0x%03x" % (implementer, int(value, 16)))
        found[name] = found.get(name, 0) + 1
    return found


def parse_meminfo(text: str, key: str) -> int:
    """Return the bytes in a line of /proc/meminfo, `MemTotal: 8136912 kB`; raise ValueError without such a line."""
    found = re.search(r"^%s:\s*(\d{1,15}) kB\s*$" % re.escape(key), text, re.MULTILINE)
    if not found:
        raise ValueError("/proc/meminfo has no %s" % key)
    return int(found.group(1)) * 1024


def identity(values: Any) -> Dict[str, Any]:
    """Return model and cores."""
    return {"model": value_in(values, "model"), "cpu_parts": value_in(values, "cpu_parts")}


def _serial(cpuinfo: str) -> Optional[str]:
    found = re.search(r"^Serial\s*:\s*(\w{4,64})\s*$", cpuinfo, re.MULTILINE)
    return found.group(1) if found else None


def _hashed(serial: Optional[str]) -> Optional[str]:
    """A serial number is an identifier: only a hash leaves the board, enough to tell two boards apart."""
    return hashlib.sha256(("hilnas board " + serial).encode("utf-8", "replace")).hexdigest()[:16] if serial else None
