"""One NVIDIA GPU as its driver (NVML) shows it; read only where the device config says which GPU is measured.

NVML comes as the module pynvml of the package nvidia-ml-py. What a driver or a GPU does not say is None, never 0.
"""

import time
from functools import lru_cache
from typing import Any, Dict, List, Optional, Tuple

from ._base import SensorUnavailable, finite, number_in, scaled, value_in

SCOPE = "gpu"
NOT_INCLUDED = "the host: processor, memory, fans of the case, losses of the power supply"

#: Why the clocks are not higher (nvml.h); the bad ones mean that a measurement shows the slowdown, not the network.
REASONS = (
    (0x1, "idle"),
    (0x2, "application_clocks"),
    (0x4, "software_power_cap"),
    (0x8, "hardware_slowdown"),
    (0x10, "sync_boost"),
    (0x20, "software_thermal"),
    (0x40, "hardware_thermal"),
    (0x80, "power_brake"),
    (0x100, "display_clocks"),
)
BAD = ("software_power_cap", "hardware_slowdown", "software_thermal", "hardware_thermal", "power_brake")

#: Codes of NVMLError that mean "not here": not supported, no permission, not found, no such function, no data.
_SILENT = (3, 4, 6, 13, 21, 25, 26)
#: Codes that mean that there is no such GPU, or no driver.
_ABSENT = (2, 6, 9, 12)
_POLICIES = (("power", 0), ("thermal", 1))
#: The counters of slowed time may creep; more than this share of the time is a slowdown.
_MAX_SLOWED = 0.05
_CLOCK_SM, _CLOCK_MEMORY, _SENSOR_GPU = 1, 2, 0
_NO_DRIVER = "no NVIDIA driver answers (%s); nvidia-smi must work first"


def read(settings: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """Return what the GPU in `settings["device"]` (`cuda:0`, in the order of the bus, or a UUID) shows now.

    Hz, W, J since the driver was loaded, bytes, Celsius; `processes` with their memory; `reasons` that hold clocks
    back; `slowed_s` by cause. Raise SensorUnavailable where no GPU is to be read or none is there.
    """
    device = str((settings or {}).get("device") or "")
    if not device:
        raise SensorUnavailable("no GPU is measured")
    nvml, handle = _opened(device)

    def ask(name: str, *arguments: Any) -> Any:
        return _asked(nvml, name, handle, *arguments)

    memory = ask("nvmlDeviceGetMemoryInfo")
    return {
        "at_s": time.monotonic(),
        "name": _text(ask("nvmlDeviceGetName")),
        "uuid": _text(ask("nvmlDeviceGetUUID")),
        "driver": _text(_asked(nvml, "nvmlSystemGetDriverVersion")),
        "sm_clock_hz": _number(ask("nvmlDeviceGetClockInfo", _CLOCK_SM), 1e6),
        "memory_clock_hz": _number(ask("nvmlDeviceGetClockInfo", _CLOCK_MEMORY), 1e6),
        "max_sm_clock_hz": _number(ask("nvmlDeviceGetMaxClockInfo", _CLOCK_SM), 1e6),
        "temperature_celsius": _number(_first(ask, _TEMPERATURE, _SENSOR_GPU)),
        "power_w": _number(ask("nvmlDeviceGetPowerUsage"), 1e-3),
        "power_limit_w": _number(ask("nvmlDeviceGetEnforcedPowerLimit"), 1e-3),
        "energy_j": _number(ask("nvmlDeviceGetTotalEnergyConsumption"), 1e-3),
        "performance_state": _number(ask("nvmlDeviceGetPerformanceState")),
        "reasons": reason_names(_first(ask, _REASONS)),
        "slowed_s": _slowed_s(ask),
        "used_bytes": _number(getattr(memory, "used", None)),
        "total_bytes": _number(getattr(memory, "total", None)),
        "processes": _processes(ask),
        "mig": _flag(ask("nvmlDeviceGetMigMode")),
        "persistence": _flag(ask("nvmlDeviceGetPersistenceMode")),
    }


def read_or_nothing(device: str) -> Dict[str, Any]:
    """Return what the GPU shows, nothing where it cannot be read: for figures that are only beside the measurement."""
    try:
        return read({"device": device})
    except Exception:  # whatever the driver says: such a figure is n/a then
        return {}


def problem(device: str) -> Optional[str]:
    """Return why the GPU cannot be read, None where it can."""
    try:
        read({"device": device})
    except Exception as error:  # whatever the driver says is an answer
        return str(error) or type(error).__name__
    return None


def doubt(before: Any, after: Any) -> Optional[str]:
    """Return that another process used the GPU, that it was slowed down, or that it is another one."""
    if value_in(before, "uuid") != value_in(after, "uuid"):
        return "gpu: it is another one than before"
    for values in (before, after):
        others = _list(value_in(values, "processes"))
        if others:
            return "contended: %d other process(es) on the GPU, first %s" % (len(others), _shown(others[0]))
        bad = [name for name in _list(value_in(values, "reasons")) if name in BAD]
        if bad:
            return "throttled: the GPU was slowed down (%s)" % ", ".join(bad)
    return _slowed_doubt(before, after)


def identity(values: Any) -> Dict[str, Any]:
    """Return which GPU it is, by which driver, and within which limits."""
    return {key: value_in(values, key) for key in ("uuid", "name", "driver", "power_limit_w", "mig")}


def advice(values: Any) -> Tuple[bool, str, str]:
    """Return whether the GPU is ready, what it is, and what would make it steadier."""
    clock, most = number_in(values, "sm_clock_hz"), number_in(values, "max_sm_clock_hz")
    found = "%s, driver %s, SM clock %s of %s MHz, %s C, %s W" % (
        value_in(values, "name"),
        value_in(values, "driver"),
        _rounded(clock, 1e-6),
        _rounded(most, 1e-6),
        _rounded(number_in(values, "temperature_celsius")),
        _rounded(number_in(values, "power_w")),
    )
    others = _list(value_in(values, "processes"))
    if others:
        return False, found, "stop the other processes on the GPU: " + ", ".join(_shown(item) for item in others[:5])
    if value_in(values, "persistence") is False:
        return True, found, "keep the driver loaded: sudo nvidia-smi -pm 1"
    return True, found, "for steadier clocks: sudo nvidia-smi -lgc MHZ (undo: -rgc)"


def used_j(before: Any, after: Any) -> Dict[str, float]:
    """Return the joules of the GPU between two readings; nothing where its counter cannot be read or went back."""
    start, end = number_in(before, "energy_j"), number_in(after, "energy_j")
    return {"gpu": end - start} if start is not None and end is not None and end >= start else {}


def resolution(values: Any) -> float:
    """Return the smallest step of the energy counter in J; it counts millijoules."""
    return 1e-3


def update_s() -> float:
    """Return how often the energy counter moves, at the least: in steps, some 10 to 50 a second."""
    return 0.1


def process_bytes(values: Any, pid: int) -> Optional[float]:
    """Return the GPU memory of a process, None where the driver does not show it (as in many containers)."""
    for item in _list(value_in(values, "processes")):
        if value_in(item, "pid") == pid:
            return number_in(item, "used_bytes")
    return None


def reason_names(bits: Any) -> Optional[List[str]]:
    """Return the reasons in a bit mask by name, unknown bits as hexadecimal; None for none."""
    if not isinstance(bits, int):
        return None
    known = sum(bit for bit, _ in REASONS)
    names = [name for bit, name in REASONS if bits & bit]
    return names + (["0x%x" % (bits & ~known)] if bits & ~known else [])


_TEMPERATURE = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature")
_REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
_PROCESSES = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetComputeRunningProcesses_v2")


@lru_cache(maxsize=8)
def _opened(device: str) -> Tuple[Any, Any]:
    """Return NVML and the handle of a GPU; opened once, since it takes longer than reading."""
    try:
        import pynvml
    except ImportError as error:
        raise SensorUnavailable("%s: pip install nvidia-ml-py" % (error,)) from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise SensorUnavailable(_NO_DRIVER % (error,)) from None
    try:
        if device.startswith("cuda:"):
            return pynvml, pynvml.nvmlDeviceGetHandleByIndex(int(device[len("cuda:") :]))
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(device)
    except pynvml.NVMLError as error:
        if getattr(error, "value", None) in _ABSENT:
            n = _asked(pynvml, "nvmlDeviceGetCount")
            raise SensorUnavailable("there is no GPU %s; the driver has %s" % (device, n)) from None
        raise


def _asked(nvml: Any, name: str, *arguments: Any) -> Any:
    """Return what NVML says, None where this driver or this GPU does not say it; raise what else it raises."""
    function = getattr(nvml, name, None)
    if function is None:
        return None
    try:
        return function(*arguments)
    except nvml.NVMLLibraryMismatchError:
        return None  # a driver older than the module
    except nvml.NVMLError as error:
        if getattr(error, "value", None) in _SILENT:
            return None
        raise


def _first(ask: Any, names: Tuple[str, ...], *arguments: Any) -> Any:
    """Return the first answer: newer drivers have renamed functions."""
    for name in names:
        found = ask(name, *arguments)
        if found is not None:
            return found
    return None


def _processes(ask: Any) -> Optional[List[Dict[str, Any]]]:
    found = _first(ask, _PROCESSES)
    if found is None:
        return None
    return [{"pid": int(item.pid), "used_bytes": _number(item.usedGpuMemory)} for item in found[:64]]


def _slowed_s(ask: Any) -> Dict[str, float]:
    found = {}
    for name, policy in _POLICIES:
        status = ask("nvmlDeviceGetViolationStatus", policy)
        slowed_s = _number(getattr(status, "violationTime", None), 1e-9)
        if slowed_s is not None:
            found[name] = slowed_s
    return found


def _slowed_doubt(before: Any, after: Any) -> Optional[str]:
    elapsed_s = (number_in(after, "at_s") or 0.0) - (number_in(before, "at_s") or 0.0)
    for name, _ in _POLICIES:
        start, end = number_in(before, "slowed_s", name), number_in(after, "slowed_s", name)
        if start is not None and end is not None and end - start > _MAX_SLOWED * elapsed_s > 0:
            return "throttled: the GPU was slowed down (%s) for %.3g s" % (name, end - start)
    return None


def _number(value: Any, factor: float = 1.0) -> Optional[float]:
    return None if value is None else scaled(finite(str(value)), factor)


def _text(value: Any) -> Optional[str]:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _flag(value: Any) -> Optional[bool]:
    """Return a mode that is on or off; MIG's is a pair of the present one and the one after a restart."""
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return None if value is None else bool(value)


def _list(value: Any) -> List[Any]:
    return value if isinstance(value, list) else []


def _shown(process: Any) -> str:
    size = number_in(process, "used_bytes")
    return "pid %s%s" % (value_in(process, "pid"), "" if size is None else " with %.0f MiB" % (size / 2**20))


def _rounded(value: Optional[float], factor: float = 1.0) -> str:
    return "?" if value is None else "%.0f" % (value * factor)
