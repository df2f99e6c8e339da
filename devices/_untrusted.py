"""What comes from a device is untrusted: texts and JSON are made harmless or refused before anything else sees them."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_MAX_DEPTH = 8
_MAX_ITEMS = 5000
_MAX_TEXT = 2000
_MAX_INTEGER = 2**63


def plain_text(text: str, limit: int = 1000) -> str:
    """Return a foreign text without control characters, cut to a bearable length."""
    return "".join(char if char.isprintable() else " " for char in text[:limit])


def plain_json(value: Any) -> Any:
    """Return a JSON value with harmless texts; raise ValueError for one that is too deep, too large or not finite."""
    return _plain(value, _MAX_DEPTH, [_MAX_ITEMS])


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth < 0 or left[0] < 0:
        raise ValueError("too deep or too many values")
    if isinstance(value, dict):
        return {plain_text(str(key), 200): _plain(item, depth - 1, left) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth - 1, left) for item in value]
    if isinstance(value, str):
        return plain_text(value, _MAX_TEXT)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and (not math.isfinite(value) or abs(value) >= _MAX_INTEGER):
        raise ValueError("a number beyond all bounds")
    if isinstance(value, int | float):
        return value
    raise ValueError(f"no JSON value: {type(value).__name__}")


Text = Annotated[str, Field(max_length=4096), BeforeValidator(lambda value: _as_text(value))]
Facts = Annotated[dict[str, Any], BeforeValidator(plain_json)]
Seconds = Annotated[float, Field(ge=0, lt=1e7, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Joules = Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]
Word = Annotated[str, Field(pattern="^[a-z0-9_]{1,40}$")]
MetricName = Annotated[
    str, Field(max_length=40, pattern="^[a-z][a-z_]*_(s|j|bytes|hz|w)$"), AfterValidator(lambda name: _theirs(name))
]
Value = Annotated[float, Field(strict=True, gt=-1e18, lt=1e18, allow_inf_nan=False)]
Values = Annotated[list[Value], Field(max_length=100_000)]
Readings = Annotated[dict[MetricName, Values], Field(max_length=16)]


#: What the session itself derives from an answer: no model may say it in its stead.
_OURS = ("latency_s", "load_s", "first_run_s", "peak_bytes", "process_peak_bytes")
_OURS_OF_ENERGY = ("energy_j", "net_energy_j", "power_w", "idle_power_w")


def _theirs(name: str) -> str:
    if name in _OURS or name in _OURS_OF_ENERGY:
        raise ValueError(f"{name} is not for a model to say")
    return name


def _as_text(value: Any) -> Any:
    return plain_text(value, 4096) if isinstance(value, str) else value


class Hello(BaseModel):
    """The first line of an agent; unknown keys are dropped."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    op: Annotated[str, Field(pattern="^hello$")]
    protocol: int
    boot_id: Annotated[str, Field(pattern="^[0-9a-fA-F-]{0,64}$")] = ""
    host: Facts = {}


class Memory(BaseModel):
    """Host memory of a worker; `peak_bytes` is over the baseline, None where there was none."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    peak_bytes: Count | None = None
    absolute_bytes: Count = 0
    baseline_bytes: Count | None = None
    method: Annotated[Text, Field(max_length=200)] = ""


class Energy(BaseModel):
    """Joules and seconds of an idle and an active window by one sensor, or the `error` that makes them unusable."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    error: Annotated[Text, Field(max_length=400)] = ""
    sensor: Word
    scope: Word
    method: Annotated[str, Field(pattern="^(counter|power)$")]
    not_included: Annotated[Text, Field(max_length=400)] = ""
    formula: Annotated[Text, Field(max_length=400)] = ""
    update_s: Annotated[Seconds, Field(gt=0)]
    resolution: Annotated[float | None, Field(ge=0, lt=1e9, allow_inf_nan=False)] = None
    calls: Annotated[int, Field(ge=1, lt=10**12)] = 1
    samples: Count = 0
    idle_j: Joules = 0.0
    idle_s: Annotated[Seconds, Field(gt=0)] = 1.0
    idle_began_s: Seconds = 0.0
    idle_uncertainty_j: Joules = 0.0
    active_j: Joules = 0.0
    active_s: Annotated[Seconds, Field(gt=0)] = 1.0
    active_began_s: Seconds = 0.0
    active_uncertainty_j: Joules = 0.0


class Layer(BaseModel):
    """One layer of a runtime's own profile."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Annotated[Text, Field(max_length=200)]
    operator: Annotated[Text, Field(max_length=200)] = ""
    provider: Annotated[Text, Field(max_length=200)] = ""
    median_s: Seconds


class Answer(BaseModel):
    """What an agent may answer; unknown keys are dropped."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int
    ok: bool
    stage: Annotated[Text, Field(max_length=40)] = ""
    cause: Text = ""
    path: Text = ""
    samples_ns: Annotated[list[Annotated[int, Field(gt=0, lt=10**13)]], Field(max_length=500_000)] = []
    calls_per_sample: Annotated[int, Field(ge=1, lt=10**9)] = 1
    warmup_converged: bool = True
    warmup_calls: Count = 0
    half_width: Annotated[float, Field(ge=0, lt=1e6, allow_inf_nan=False)] = 0.0
    stop: Annotated[Text, Field(max_length=40)] = ""
    pace_ns: Count = 0
    slowed_blocks: Count = 0
    load_s: Seconds = 0.0
    first_run_s: Seconds = 0.0
    warmup_s: Seconds = 0.0
    busy_s: Seconds = 0.0
    cpu_s: Seconds = 0.0
    wall_s: Seconds = 0.0
    paced_s: Seconds = 0.0
    elapsed_s: Seconds = 0.0
    late_calls: Count = 0
    memory: Memory = Memory()
    readings: Readings = {}
    energy: Energy | None = None
    layers: Annotated[list[Layer], Field(max_length=2000)] = []
    calls: Count = 0
    plain_s: Seconds = 0.0
    profiled_s: Seconds = 0.0
    timeline: Annotated[list[Facts], Field(max_length=1000)] = []
    model: Facts = {}
    runtime: Facts = {}
    before: Facts = {}
    after: Facts = {}
    state: Facts = {}
