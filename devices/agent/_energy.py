"""What a window of time took: counters by difference, power by integration.

The supervisor reads the sensor in a thread of its own, while the worker idles and computes; the worker reads nothing.
Times are those of the monotonic clock, which all processes of a machine share.
"""

import bisect
import math
import threading
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

from . import _plugins
from .sensors._base import number_in, value_in

#: Between two readings; a sensor that is slow to read is read less often, so that reading takes a fifth of a core.
_PERIOD_S = 0.05
_REST = 4.0
#: A sensor that takes longer than this for one reading cannot be integrated.
_MAX_COST_S = 0.5
#: Readings further apart than so many periods (and half a second) leave a gap.
_MAX_PERIODS = 5.0
_MIN_GAP_S = 0.5
_MAX_SAMPLES = 500000

#: Time in seconds, and watts or joules since the first sample.
Sample = Tuple[float, float]


class EnergyError(Exception):
    """The sensors cannot say what a window took; the text says why."""


class Source:
    """A sensor that counts joules (it has `used_j`) or shows `power_w`; raise EnergyError for any other."""

    def __init__(self, name: str, settings: Any) -> None:
        try:
            self._module = _plugins.load("sensors", name)
        except ValueError as error:
            raise EnergyError(str(error)) from None
        self.name = name
        self._settings = settings
        self._last = self._values()
        began = time.monotonic()
        self._values()
        cost_s = time.monotonic() - began
        if cost_s > _MAX_COST_S:
            raise EnergyError("it takes %.1f s for one reading, too long to be integrated" % cost_s)
        self.counts = bool(hasattr(self._module, "used_j") and self._module.used_j(self._last, self._last))
        if not self.counts and number_in(self._last, "power_w") is None:
            raise EnergyError("it shows neither energy nor power")
        self.update_s = max(_PERIOD_S, _REST * cost_s, self._updates_every_s())
        self._zones = sorted(self._module.used_j(self._last, self._last)) if self.counts else []
        self._counted_j = 0.0

    def sample(self) -> Sample:
        """Read once; raise whatever the sensor raises, EnergyError for a reading without the number."""
        began = time.monotonic()
        values = self._values()
        at_s = (began + time.monotonic()) / 2
        if not self.counts:
            power_w = number_in(values, "power_w")
            if power_w is None:
                raise EnergyError("it no longer shows its power")
            return at_s, power_w
        used = self._module.used_j(self._last, values)
        if sorted(used) != self._zones:
            raise EnergyError("a counter has gone or went back")
        self._last = values
        self._counted_j += sum(used.values())
        return at_s, self._counted_j

    def facts(self) -> Dict[str, Any]:
        """Return what the numbers of this sensor mean."""
        scope = value_in(self._last, "scope") or getattr(self._module, "SCOPE", self.name)
        found = {
            "sensor": self.name,
            "scope": scope,
            "method": "counter" if self.counts else "power",
            "not_included": getattr(self._module, "NOT_INCLUDED", "not known"),
            "update_s": self.update_s,
        }
        formula = value_in(self._last, "formula")
        return dict(found, formula=formula) if formula else found

    def resolution(self) -> Optional[float]:
        """Return the smallest step of the sensor in J (a counter) or W, None where it is not known."""
        function = getattr(self._module, "resolution", None)
        return function(self._last) if function is not None else None

    def stretched(self, protocol: Dict[str, Any]) -> Dict[str, Any]:
        """Return the protocol with windows for `sensor_updates` updates, a fifth of them in the idle one."""
        updates_s = float(protocol["sensor_updates"]) * self.update_s
        active_s, idle_s = float(protocol["active_s"]), float(protocol["idle_s"])
        return dict(protocol, active_s=max(active_s, updates_s), idle_s=max(idle_s, updates_s / 5))

    def _values(self) -> Any:
        return self._module.read() if self._settings is None else self._module.read(self._settings)

    def _updates_every_s(self) -> float:
        function = getattr(self._module, "update_s", None)
        return float(function() or 0.0) if function is not None else 0.0


def find(names: Sequence[str], settings: Dict[str, Any]) -> Source:
    """Return the first sensor of a list that tells energy or power; raise EnergyError with every one's reason."""
    reasons = []
    for name in names:
        try:
            return Source(name, settings.get(name))
        except Exception as error:  # what one sensor says must not hide the next
            reasons.append("%s: %s" % (name, str(error)[:150]))
    raise EnergyError("n/a: no sensor of energy (%s)" % ("; ".join(reasons) or "none was named"))


class Sampler:
    """Reads a source in a thread until it is left; a reading that fails ends it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._samples: List[Sample] = []
        self._error = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()

    def account(self, windows: Dict[str, Any], calls: int) -> Dict[str, Any]:
        """Return what `account` returns, or {"error": ...} where the sensor went away or left gaps."""
        facts = self._source.facts()
        if self._error:
            return dict(facts, error=self._error)
        try:
            return dict(facts, **account(self._samples, self._source, windows, calls))
        except EnergyError as error:
            return dict(facts, error=str(error))

    def _run(self) -> None:
        try:
            due_s = time.monotonic()
            while not self._stop.wait(max(0.0, due_s - time.monotonic())) and len(self._samples) < _MAX_SAMPLES:
                self._samples.append(self._source.sample())
                due_s = max(due_s + self._source.update_s, time.monotonic())
            self._samples.append(self._source.sample())  # behind the end of the last window
        except Exception as error:  # whatever a board's files and programs say
            self._error = ("%s: %s" % (type(error).__name__, error))[:300]


def account(samples: Sequence[Sample], source: Any, windows: Dict[str, Any], calls: int) -> Dict[str, Any]:
    """Return joules, seconds and uncertainty of the windows `idle` and `active` (begin and end in seconds).

    `source` has `counts`, `update_s` and `resolution()`. Uncertainties are standard ones (k = 1): the sensor's step
    as a uniform distribution that does not average out, and for power the scatter of the samples. Raise EnergyError
    where the samples do not cover a window, leave a gap in it, or a counter stands still while the worker computes.
    """
    points = list(samples) if source.counts else integrated(samples)
    found: Dict[str, Any] = {"calls": calls, "samples": len(samples), "resolution": source.resolution()}
    for name in ("idle", "active"):
        start_s, end_s = windows[name]
        _need_no_gap(points, start_s, end_s, source)
        found["%s_j" % name] = between(points, start_s, end_s)
        found["%s_s" % name] = end_s - start_s
        found["%s_began_s" % name] = start_s
        found["%s_uncertainty_j" % name] = _uncertainty_j(samples, found, name, source, (start_s, end_s))
    if source.counts and not found["active_j"] > 0:
        raise EnergyError("the counter stands still")
    return found


def integrated(samples: Sequence[Sample]) -> List[Sample]:
    """Return joules since the first of samples in watts, by the trapezoidal rule."""
    points: List[Sample] = []
    total_j = 0.0
    for i, (at_s, power_w) in enumerate(samples):
        if i:
            before_s, before_w = samples[i - 1]
            total_j += (at_s - before_s) * (power_w + before_w) / 2
        points.append((at_s, total_j))
    return points


def between(points: Sequence[Sample], start_s: float, end_s: float) -> float:
    """Return the joules between two times, interpolated; raise EnergyError where the points do not reach that far."""
    return _at(points, end_s) - _at(points, start_s)


def longest_gap_s(points: Sequence[Sample], start_s: float, end_s: float) -> float:
    """Return the longest time between two neighbouring points that touches a window; 0 for a window on one point."""
    first = max(0, bisect.bisect_right(points, (start_s, math.inf)) - 1)
    last = bisect.bisect_left(points, (end_s, -math.inf))
    times = [at_s for at_s, _ in points[first : last + 1]]
    return max((times[i + 1] - times[i] for i in range(len(times) - 1)), default=0.0)


def _need_no_gap(points: Sequence[Sample], start_s: float, end_s: float, source: Any) -> None:
    """Raise EnergyError for a gap: anywhere with power, at the ends of the window with a counter."""
    limit_s = max(_MIN_GAP_S, _MAX_PERIODS * source.update_s)
    stretches = [(start_s, start_s), (end_s, end_s)] if source.counts else [(start_s, end_s)]
    gap_s = max(longest_gap_s(points, first, last) for first, last in stretches)
    if gap_s > limit_s:
        raise EnergyError("the sensor was silent for %.2f s" % gap_s)


def _at(points: Sequence[Sample], at_s: float) -> float:
    if not points or not points[0][0] <= at_s <= points[-1][0]:
        raise EnergyError("the sensor was not read during the whole window")
    i = bisect.bisect_left(points, (at_s, -math.inf))
    later_s, later_j = points[i]
    if i == 0 or later_s == at_s:
        return later_j
    earlier_s, earlier_j = points[i - 1]
    return earlier_j + (later_j - earlier_j) * (at_s - earlier_s) / (later_s - earlier_s)


def _uncertainty_j(
    samples: Sequence[Sample], found: Dict[str, Any], name: str, source: Any, window: Tuple[float, float]
) -> float:
    start_s, end_s = window
    length_s, step = end_s - start_s, source.resolution() or 0.0
    if source.counts:
        # Either end of the window is known to one step of the counter and one of its updates.
        power_w = found["%s_j" % name] / length_s if length_s > 0 else 0.0
        return math.sqrt(2.0 / 12.0) * math.hypot(step, power_w * source.update_s)
    values = [power_w for at_s, power_w in samples if start_s <= at_s <= end_s]
    if len(values) < 2:
        return step / math.sqrt(12.0) * length_s
    mean = sum(values) / len(values)
    scatter = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return length_s * math.sqrt(step**2 / 12.0 + scatter / len(values))
