"""What this machine is: facts that must agree before measurements of two runs may be put together."""

import os
import platform
import struct
from typing import Any, Dict, List


def host_facts() -> Dict[str, Any]:
    """Return processor, cores, Python and C library."""
    return {
        "machine": platform.machine(),
        "bits": struct.calcsize("P") * 8,
        "system": platform.system(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation().lower(),
        "libc": list(libc()),
        "cpu_model": _cpu_model(),
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)),
        "virtual": is_virtual(),
    }


def boot_id() -> str:
    """Return what is different after every boot, nothing where the kernel does not tell."""
    return (_lines_of("/proc/sys/kernel/random/boot_id") or [""])[0][:64]


def started_at(pid: int) -> str:
    """Return when a process began, in clock ticks since boot; nothing for one that is gone or a zombie."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            fields = file.read(4096).rpartition(")")[2].split()
    except OSError:
        return ""
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def libc() -> List[str]:
    """Return name and version of the C library, as wheel tags need it."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        return [name, version] if version else list(platform.libc_ver())
    except (ValueError, OSError, AttributeError):
        return list(platform.libc_ver())


def _cpu_model() -> str:
    found: Dict[str, str] = {}
    for line in _lines_of("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        found.setdefault(key.strip().lower(), value.strip())
    for key in ("model name", "model", "hardware", "cpu model"):
        if found.get(key, "").strip("0123456789 "):  # x86 has a number as `model`
            return found[key]
    return platform.processor() or "unknown"


def is_virtual() -> bool:
    """Return whether this processor says that it is a virtual one; others may then use its cores unseen."""
    return any(line.startswith("flags") and " hypervisor" in line for line in _lines_of("/proc/cpuinfo"))


def _lines_of(path: str) -> List[str]:
    try:
        with open(path) as file:
            return file.read(1 << 20).splitlines()
    except OSError:
        return []
