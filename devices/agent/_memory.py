"""The most host memory that a fresh worker has used, over what it used before the model was loaded."""

import resource
from typing import Any, Dict, Optional


class Peak:
    """Begins to look when it is made; `report` says what the peak was since.

    The kernel's own high-water mark (VmHWM) is set back to what is used now where it allows that. Elsewhere the peak
    of the process's life is compared with what it uses now, which is the same as long as it never used more before.
    """

    def __init__(self) -> None:
        self._was_set_back = _set_back()
        self._baseline = _status_bytes("VmRSS")

    def report(self) -> Dict[str, Any]:
        """Return the peak over the baseline (nothing where the kernel tells none), the absolute one, the baseline."""
        absolute = _status_bytes("VmHWM")
        method = "VmHWM, set back before loading" if self._was_set_back else "VmHWM over VmRSS before loading"
        if absolute is None:
            absolute = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            method = "ru_maxrss over VmRSS before loading"
        if self._baseline is None:
            return {"absolute_bytes": absolute, "method": "ru_maxrss"}
        peak = max(0, absolute - self._baseline)
        return {"peak_bytes": peak, "absolute_bytes": absolute, "baseline_bytes": self._baseline, "method": method}


def _set_back() -> bool:
    """Set the high-water mark to what is used now (Linux 4.0 and later); return whether that was allowed."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return _status_bytes("VmHWM") is not None


def _status_bytes(name: str) -> Optional[int]:
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None
