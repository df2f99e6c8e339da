"""The time of each layer by the runtime's own profile, beside whole calls that were not profiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hilnas.records import Workload
from hilnas.units import format_seconds


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer: what it is called, its operator, who ran it, its median time and its share of the sum."""

    name: str
    operator: str
    provider: str
    median_s: float
    share: float


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """The layers of one workload over `calls` profiled calls.

    `plain_s` and `profiled_s` are the medians of whole calls without and under the profiler in the same process;
    `latency_s` is what the campaign measured in processes of its own, None where it measured nothing.
    """

    workload: Workload
    layers: tuple[LayerTime, ...]
    calls: int
    plain_s: float
    profiled_s: float
    latency_s: float | None

    @classmethod
    def of(cls, workload: Workload, facts: Mapping[str, Any], latency_s: float | None) -> LayerProfile:
        """Return the profile that is stored in the facts of an invocation."""
        total_s = sum(layer["median_s"] for layer in facts["layers"])
        layers = tuple(
            LayerTime(**layer, share=layer["median_s"] / total_s if total_s else 0.0) for layer in facts["layers"]
        )
        return cls(workload, layers, facts["calls"], facts["plain_s"], facts["profiled_s"], latency_s)

    @property
    def sum_s(self) -> float:
        """Return the sum of the layers' medians."""
        return sum(layer.median_s for layer in self.layers)

    @property
    def covered(self) -> float:
        """Return the sum of the layers over the unprofiled median: of the campaign, or else of the same process."""
        return self.sum_s / (self.latency_s or self.plain_s)

    @property
    def overhead(self) -> float:
        """Return how much longer a call takes under the profiler, as a share."""
        return self.profiled_s / self.plain_s - 1

    def to_json(self) -> dict[str, Any]:
        """Return everything as a JSON value, the layers in the order of their running."""
        return {
            "architecture": self.workload.name,
            "calls": self.calls,
            "sum_s": self.sum_s,
            "latency_s": self.latency_s,
            "plain_s": self.plain_s,
            "profiled_s": self.profiled_s,
            "covered": self.covered,
            "overhead": self.overhead,
            "layers": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a layer."""
        return [
            {
                "layer": layer.name,
                "operator": layer.operator,
                "provider": layer.provider,
                "median_s": layer.median_s,
                "share": layer.share,
            }
            for layer in self.layers
        ]

    def text(self) -> str:
        """Return the sum of the layers against the whole, and what profiling costs, for people."""
        whole_s = self.latency_s or self.plain_s
        whole = "latency" if self.latency_s else "an unprofiled call"
        return (
            f"{len(self.layers)} layers take {format_seconds(self.sum_s)}, {self.covered:.1%} of {whole}"
            f" ({format_seconds(whole_s)}); the profiler makes a call {self.overhead:+.1%} longer ({self.calls} calls)"
        )
