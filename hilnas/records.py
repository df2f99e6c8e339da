"""The nouns that all layers share, as frozen values.

Architecture → Workload → Artifact → Run (with its Readings) → Measurement (with its MetricValues); Prediction and
Constraint beside them.
Quantities are SI with the unit in the name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hilnas.errors import UsageError
from hilnas.units import parse_quantity


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no blanks, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_hash(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON value's canonical text."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Architecture:
    """One point of a search space: the space's name and a tuple of decisions (indices or numbers).

    `text` is the canonical form that is typed, stored and printed: `space:decisions-as-text`.
    """

    space: str
    decisions: tuple[int, ...]
    text: str = field(compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Workload:
    """What is measured: an architecture, a block of a space, or a model file, at one input shape.

    `subject` is `space:...` for an architecture, `block:space:key` for a block, `model:sha256` for a file.
    `options` holds what the space needs to build it again (width, classes ...), as canonical JSON.
    """

    subject: str
    kind: Literal["architecture", "block", "model"]
    input_shape: tuple[int, ...]
    dtype: str = "float32"
    options: str = "{}"
    label: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """Return the content hash that identifies the workload in every store."""
        return content_hash([self.subject, self.kind, list(self.input_shape), self.dtype, self.options])[:32]

    @property
    def name(self) -> str:
        """Return what people read: the label where there is one, else the subject."""
        return self.label or self.subject


@dataclass(frozen=True, slots=True)
class Artifact:
    """A workload built for one backend; `path` is where the local copy lies, None where nothing is to run.

    `recipe_path` is where a description lies from which a device can write the same bytes itself.
    """

    workload: Workload
    backend: str
    sha256: str
    size_bytes: int
    path: str | None = None
    recipe_path: str | None = None


#: What an invocation is for: sensors are read and layers are profiled where no latency is timed.
Purpose = Literal["latency", "energy", "layers"]


@dataclass(frozen=True, slots=True)
class MeasurementProtocol:
    """How often and how long: several invocations in fresh workers, each of warm-up and timed blocks of calls.

    An invocation warms up until two windows of calls agree, then times blocks until the confidence interval of
    the median of block medians is narrower than `within_half_width` (relative) or a cap is reached. A workload
    gets invocations until the interval of the median of its invocation medians is narrower than
    `relative_half_width`, at least `min_invocations`, at most `max_invocations`.

    With `pace_wait_s` only blocks at the processor's full pace count, and so many seconds of an invocation may go into
    others: for machines on which somebody else may use the same cores unseen.

    `purpose` says what one invocation is for. Beside those for latency a workload gets `energy_invocations` (an idle
    window of `idle_s`, then an active one of at least `active_s`, `active_calls` calls and `sensor_updates` updates
    of the sensor) and `layer_invocations` (the runtime's own profile of `layer_calls` calls); none unless asked for.
    """

    min_invocations: int = 5
    max_invocations: int = 12
    relative_half_width: float = 0.01
    reject_half_width: float = 0.05
    within_half_width: float = 0.01
    min_warmup_s: float = 0.08
    max_warmup_s: float = 3.0
    min_calls: int = 30
    min_measure_s: float = 0.2
    max_measure_s: float = 0.6
    max_calls: int = 5000
    block_s: float = 0.01
    max_attempts: int = 3
    timeout_s: float = 60.0
    sentinel_every: int = 20
    max_drift: float = 0.05
    rate_hz: float = 0.0
    sustained_s: float = 0.0
    purpose: Purpose = "latency"
    energy_invocations: int = 0
    idle_s: float = 15.0
    active_s: float = 10.0
    active_calls: int = 10
    sensor_updates: int = 50
    layer_invocations: int = 0
    layer_calls: int = 20
    pace_wait_s: float = 0.0

    @property
    def limit_s(self) -> float:
        """Return after how many seconds one invocation is killed."""
        # A slow meter needs longer windows than were asked for (its updates are counted), a slow model as well.
        windows_s = 2 * self.idle_s + 20 * self.active_s + 4 * self.sensor_updates
        return self.timeout_s + self.sustained_s + self.pace_wait_s + (windows_s if self.purpose == "energy" else 0.0)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Reading:
    """The raw values of one metric in one invocation, in the unit of the metric."""

    metric: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Environment:
    """The fingerprint of a device: facts that must agree before measurements may be put together."""

    facts: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Return the content hash of the facts."""
        return content_hash(dict(self.facts))[:32]


RunStatus = Literal["ok", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt: one invocation of one artifact in a fresh worker.

    ok: usable. rejected: measured, but the state of the device makes it doubtful (`cause` says why; the readings
    are kept). failed: nothing was measured. `state` holds what the sensors said before and after; `busy_s` the
    warm-up and timed calls, `wall_s` the whole invocation.
    """

    workload: Workload
    status: RunStatus
    readings: tuple[Reading, ...] = ()
    cause: str | None = None
    transient: bool = False
    warmup_converged: bool = True
    stop_reason: str = ""
    busy_s: float = 0.0
    wall_s: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.cause is None):
            raise ValueError("a run is ok exactly when it has no cause")

    def values(self, metric: str = "latency_s") -> tuple[float, ...]:
        """Return the raw values of one metric, empty where it was not read."""
        return next((reading.values for reading in self.readings if reading.metric == metric), ())


@dataclass(frozen=True, slots=True)
class MetricValue:
    """One metric of one workload in SI: what `invocations` invocations say together, or None and the reason (n/a).

    `uncertainty` is the sensor's own (standard, k = 1), `scope` what the sensor sees and what not; None where neither
    is known or matters.
    """

    value: float | None
    invocations: int = 0
    cause: str | None = None
    uncertainty: float | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the runs of one workload say together, derived and never stored.

    `latency_s` is the median of the invocation medians; the interval is that of the median by order statistics at
    `confidence` (the smallest coverage of at least 90 % that the number of invocations allows). `metrics` holds
    whatever else was read, by the name of its readings (`energy_j`, `peak_bytes`).
    """

    workload: Workload
    status: RunStatus
    latency_s: float | None
    lower_s: float | None
    upper_s: float | None
    confidence: float
    invocations: int
    cause: str | None = None
    metrics: Mapping[str, MetricValue] = field(default_factory=dict, hash=False)

    @property
    def relative_half_width(self) -> float | None:
        """Return half the interval over the median, None where nothing was measured."""
        if self.latency_s is None or self.lower_s is None or self.upper_s is None:
            return None
        return (self.upper_s - self.lower_s) / 2 / self.latency_s


Provenance = Literal["measured", "table", "interpolated", "model", "bound"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A guess in seconds with its interval and where it comes from."""

    mean_s: float
    lower_s: float
    upper_s: float
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Constraint:
    """An upper limit on one metric, in SI, that shall hold with a confidence (None: the best guess decides)."""

    metric: str
    limit: float
    confidence: float | None = None

    _PATTERN = re.compile(r"(?P<metric>[a-z_]+)\s*(?:<=|=)\s*(?P<quantity>[^@]+?)(?:@(?P<confidence>[0-9.]+)%)?")

    @classmethod
    def parse(cls, text: str, dimensions: Mapping[str, str]) -> Constraint:
        """Return the constraint of a text such as `latency=12ms@95%`; `dimensions` maps metrics to dimensions.

        Raises UsageError for an unknown metric, a quantity without unit or a confidence outside 50 to 100 %.
        """
        match = cls._PATTERN.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"cannot read the constraint {text!r}", remedy="Write for instance --max latency=12ms")
        metric = match["metric"]
        if metric not in dimensions:
            raise UsageError(
                f"unknown metric {metric!r} in the constraint {text!r}", f"Known: {', '.join(sorted(dimensions))}."
            )
        limit = parse_quantity(match["quantity"], dimensions[metric])
        if limit <= 0:
            raise UsageError(f"the limit in {text!r} must be above 0")
        return cls(metric, limit, _confidence(match["confidence"], text))


def _confidence(percent: str | None, text: str) -> float | None:
    if percent is None:
        return None
    try:
        value = float(percent) / 100
    except ValueError:
        value = 0.0
    if not 0.5 <= value < 1:
        raise UsageError(f"the confidence in {text!r} must lie between 50 % and 100 %")
    return value
