"""The clock of a Jetson's GPU."""

from typing import Any, Dict, Optional

from ._base import SensorUnavailable, matching, number_in, read_number, read_text, value_in

_NODES = ("gv11b", "gp10b", "ga10b", "gb10b", "gm20b", "gpu")
#: Below this share of its locked clock a GPU was slowed down; the clocks read are those of a divider, not exact.
_SLOWED = 0.98


def read() -> Dict[str, Any]:
    """Return clocks in Hz, limits, governor and load (0 to 1) by device; raise SensorUnavailable without a GPU."""
    found = {}
    for folder in matching("/sys/class/devfreq/*"):
        name = folder.rsplit("/", 1)[-1]
        node = read_text(folder + "/device/of_node/name") or name.rsplit(".", 1)[-1]
        if node in _NODES or node.startswith("gpu"):
            found[name] = _device(folder)
    if not found:
        raise SensorUnavailable("no GPU with a devfreq clock")
    return {"gpus": found}


def doubt(before: Any, after: Any) -> Optional[str]:
    """Return that limits or governor changed, or that a GPU with a locked clock ran slower."""
    for name, values in sorted(_gpus(after).items()):
        old = _gpus(before).get(name)
        for key in ("min_hz", "max_hz", "governor"):
            if value_in(old, key) != value_in(values, key):
                return "clocks: %s of the GPU changed while it was timed" % key
        if _is_slowed(old) or _is_slowed(values):
            return "throttled: the GPU ran below its locked clock"
    return None


def identity(values: Any) -> Dict[str, Any]:
    """Return limits and governor of each GPU."""
    keys = ("min_hz", "max_hz", "governor")
    return {name: {key: value_in(gpu, key) for key in keys} for name, gpu in _gpus(values).items()}


def _device(folder: str) -> Dict[str, Any]:
    load = read_number(folder + "/device/load")
    if load is not None and not 0 <= load <= 1000:
        raise ValueError("a GPU load of %g thousandths" % load)
    return {
        "current_hz": read_number(folder + "/cur_freq"),
        "min_hz": read_number(folder + "/min_freq"),
        "max_hz": read_number(folder + "/max_freq"),
        "governor": read_text(folder + "/governor"),
        "load": None if load is None else load / 1000,
    }


def _is_slowed(gpu: Any) -> bool:
    current, low, high = (number_in(gpu, key) for key in ("current_hz", "min_hz", "max_hz"))
    if current is None or low is None or low != high:
        return False
    return 0 < current < _SLOWED * low  # 0: without power at the moment, not slowed


def _gpus(values: Any) -> Dict[str, Any]:
    found = value_in(values, "gpus")
    return found if isinstance(found, dict) else {}
