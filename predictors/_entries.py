"""The entries of a lookup table: the time of a block, how well it is known, and where it was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

from hilnas.records import Measurement
from profiler._plan import block_entry_s

#: What a table may be given for a key: seconds, or a `BlockEntry` as JSON.
EntryValue = float | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """The time of one block; half of its interval at `confidence` over `n` invocations (0: not known).

    `run_id`, `environment` (a key of the records), `runtime` and `state` say where it comes from; empty where that is
    not known.
    """

    latency_s: float
    half_width_s: float = 0.0
    confidence: float = 0.0
    n: int = 0
    run_id: str = ""
    environment: str = ""
    runtime: str = ""
    state: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.latency_s) and self.latency_s > 0):
            raise ValueError("the entries of a lookup table must be positive and finite seconds")
        if not (math.isfinite(self.half_width_s) and self.half_width_s >= 0):
            raise ValueError("the half width of an entry must be finite seconds, at least 0")

    @classmethod
    def of(cls, value: EntryValue) -> BlockEntry:
        """Return the entry of plain seconds or of its JSON; raise ValueError where it is neither."""
        if not isinstance(value, Mapping):
            return cls(float(value))
        unknown = sorted(set(value) - set(cls.__slots__))
        if unknown or "latency_s" not in value:
            raise ValueError(f"no entry of a lookup table: {', '.join(unknown) or 'latency_s is missing'}")
        return cls(**value)

    @property
    def standard_error_s(self) -> float:
        """Return the standard error: half the interval over the normal quantile of its confidence (0: not known)."""
        if not 0 < self.confidence < 1:
            return 0.0
        return self.half_width_s / NormalDist().inv_cdf((1 + self.confidence) / 2)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return asdict(self)


def measured_entry(measurement: Measurement, run_id: str, environment: str, runtime: str, state: str) -> BlockEntry:
    """Return the entry of one copy of a measured block; raise ValueError where nothing was measured."""
    latency_s = block_entry_s(measurement)
    half_s = (measurement.relative_half_width or 0.0) * latency_s
    confidence = measurement.confidence if measurement.relative_half_width is not None else 0.0
    return BlockEntry(latency_s, half_s, confidence, measurement.invocations, run_id, environment, runtime, state)


def runtime_text(facts: Mapping[str, Any]) -> str:
    """Return the runtime of an environment's facts: its name, version and options (`onnxruntime 1.31.1, threads=1`)."""
    runtime, options = facts.get("runtime") or {}, facts.get("options") or {}
    name = " ".join(str(runtime[key]) for key in ("name", "version") if key in runtime) or str(facts.get("kind", ""))
    chosen = [f"{key}={value}" for key, value in sorted(options.items()) if value not in (None, [], "", {})]
    return ", ".join([name, *chosen])


def one_environment(entries: Sequence[BlockEntry]) -> str:
    """Return the runtime all entries were measured on; raise ValueError where they come from different machines."""
    if len({entry.environment for entry in entries if entry.environment}) > 1:
        raise ValueError("the entries of a lookup table come from different machines, runtimes or options")
    return next((entry.runtime for entry in entries if entry.runtime), "")
