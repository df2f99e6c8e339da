"""A against B: the ratio of two workloads that were measured in the same rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from devices.agent._stopping import median_interval
from hilnas.errors import GateFailed, Inconclusive
from hilnas.gates import Gate
from profiler._judgement import MIN_CONFIDENCE, Invocation


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times slower `name` is than `reference`: median over paired rounds, interval by order statistics."""

    name: str
    reference: str
    ratio: float
    lower: float
    upper: float
    confidence: float
    pairs: int

    @property
    def half_width(self) -> float:
        """Return half the interval."""
        return (self.upper - self.lower) / 2


def paired_ratio(name: str, reference: str, runs: Sequence[Invocation], base: Sequence[Invocation]) -> Ratio | None:
    """Return the ratio of runs to base, the n-th usable of one against the n-th of the other; None without pairs.

    Invocations of one round lie seconds apart, so a device that slows down slows down both.
    """
    ratios = [a / b for a, b in zip(_usable(runs), _usable(base), strict=False)]
    if not ratios:
        return None
    lower, upper, confidence = median_interval(ratios, MIN_CONFIDENCE) or (min(ratios), max(ratios), 0.0)
    return Ratio(name, reference, median(ratios), lower, upper, confidence, len(ratios))


def enforce(gate: Gate, ratios: Sequence[Ratio]) -> None:
    """Raise GateFailed when the whole interval of a ratio breaks the gate, Inconclusive when only a part does."""
    for item in ratios:
        holds = [gate.holds(bound) for bound in (item.lower, item.upper)]
        shown = f"{item.name} / {item.reference} = {item.ratio:.3f} [{item.lower:.3f}, {item.upper:.3f}]"
        if not any(holds):
            raise GateFailed(f"the gate {gate} does not hold: {shown}")
        if not all(holds):
            raise Inconclusive(
                f"the gate {gate} can be neither confirmed nor refuted: {shown}",
                "The interval contains the limit.",
                "Measure longer: --invocations 30",
            )


def _usable(runs: Sequence[Invocation]) -> list[float]:
    return [item.median_s for item in runs if item.status == "ok" and item.median_s is not None]
