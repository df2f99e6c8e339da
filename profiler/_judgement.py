"""What the invocations of one workload say together: pure functions of what is stored."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, stdev

from devices.agent._stopping import median_interval
from hilnas.records import Measurement, MeasurementProtocol, RunStatus, Workload

#: The interval of the median of few invocations cannot have any coverage; the narrowest of at least this is taken.
MIN_CONFIDENCE = 0.9


@dataclass(frozen=True, slots=True)
class Invocation:
    """What judging needs of one run: its place, its status and the median of its samples (None: none)."""

    sequence: int
    attempt: int
    status: RunStatus
    median_s: float | None
    cause: str | None = None
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a workload stands: `done`, or to be invoked again in `attempt`."""

    done: bool
    attempt: int
    measurement: Measurement


def judge(workload: Workload, invocations: Sequence[Invocation], protocol: MeasurementProtocol) -> Verdict:
    """Return the verdict on a workload.

    ok: at least `min_invocations` usable invocations whose interval is narrow enough, or `max_invocations` whose
    interval is bearable. A rejected attempt (too much doubt, too wide an interval) is followed by a fresh one, up
    to `max_attempts`. A stable failure ends it at once, a transient one after `max_attempts` failures.
    """
    attempt = max((item.attempt for item in invocations), default=1)
    current = [item for item in invocations if item.attempt == attempt]
    failure = _failure(invocations, protocol)
    if failure is not None:
        return Verdict(True, attempt, _summary(workload, current, "failed", failure))
    usable = [item for item in current if item.status == "ok"]
    cause = _complaint(current, usable, workload, protocol)
    if cause is None:
        narrow = len(usable) >= protocol.min_invocations and _narrow(usable, workload, protocol)
        done = narrow or len(usable) >= protocol.max_invocations
        return Verdict(done, attempt, _summary(workload, usable, "ok", None))
    if attempt < protocol.max_attempts:
        return Verdict(False, attempt + 1, _summary(workload, current, "rejected", cause))
    return Verdict(True, attempt, _summary(workload, current, "rejected", cause))


def judge_beside(invocations: Sequence[Invocation], wanted: int, max_attempts: int) -> bool:
    """Return whether the invocations beside latency (for energy, for layers) are done.

    So many usable ones as are wanted, one stable failure (no sensor, no profile), or `max_attempts` that were no good.
    """
    usable = sum(item.status == "ok" for item in invocations)
    stable = any(item.status == "failed" and not item.transient for item in invocations)
    return usable >= wanted or stable or len(invocations) - usable >= max_attempts


def noise_floor(sentinels: Sequence[Invocation]) -> float | None:
    """Return the relative standard deviation of the sentinel's medians, None with fewer than 3."""
    medians = [item.median_s for item in sentinels if item.status == "ok" and item.median_s is not None]
    if len(medians) < 3:
        return None
    return stdev(medians) / (sum(medians) / len(medians))


def drifted(sentinels: Sequence[Invocation], limit: float) -> list[tuple[float, float]]:
    """Return the stretches of the campaign (from, to, in sequence numbers) in which the device ran differently.

    The running median of three sentinel invocations is compared with the level that most of them have; where it is off
    by more than `limit`, everything between the neighbouring sentinels is doubtful.
    """
    good = [item for item in sentinels if item.median_s is not None and item.status == "ok"]
    if len(good) < 3:
        return []
    medians = [item.median_s or 0.0 for item in good]
    reference = _level(medians, limit)
    stretches: list[tuple[float, float]] = []
    for i in range(len(good)):
        first = max(0, i - 1)
        local = median(medians[first : first + 3])
        if abs(local / reference - 1) > limit:
            start = good[i - 1].sequence if i else -1
            end = good[i + 1].sequence if i + 1 < len(good) else float("inf")
            stretches.append((start, end))
    return stretches


def _level(values: Sequence[float], limit: float) -> float:
    """Return the median of the largest group of values no further apart than `limit` to either side, the least of them.

    Not the median of all: where a machine is disturbed most of the time, that lies between its levels, and what was
    measured well would drift from it.
    """
    ordered = sorted(values)
    groups = [ordered[i : bisect_right(ordered, (1 + 2 * limit) * low)] for i, low in enumerate(ordered)]
    largest: list[float] = max(groups, key=len)
    return median(largest)


def mark_drift(invocations: Sequence[Invocation], stretches: Sequence[tuple[float, float]]) -> list[Invocation]:
    """Return the invocations, those within a drifted stretch rejected."""
    return [
        Invocation(item.sequence, item.attempt, "rejected", item.median_s, "drift: the sentinel had moved", True)
        if item.status == "ok" and any(start < item.sequence < end for start, end in stretches)
        else item
        for item in invocations
    ]


def _failure(invocations: Sequence[Invocation], protocol: MeasurementProtocol) -> str | None:
    failed = [item for item in invocations if item.status == "failed"]
    stable = next((item for item in failed if not item.transient), None)
    if stable is not None:
        return stable.cause
    return failed[-1].cause if len(failed) >= protocol.max_attempts else None


def _complaint(
    current: Sequence[Invocation], usable: Sequence[Invocation], workload: Workload, protocol: MeasurementProtocol
) -> str | None:
    """Return why this attempt is to be given up, None while it may still become well."""
    if len(current) >= 2 * protocol.max_invocations and len(usable) < protocol.max_invocations:
        causes = Counter((item.cause or "").partition(":")[0] for item in current if item.status != "ok")
        worst, n = causes.most_common(1)[0]
        return f"{worst} in {n} of {len(current)} invocations"
    if len(usable) >= protocol.max_invocations:
        half = _summary(workload, usable, "ok", None).relative_half_width
        if half is not None and half > protocol.reject_half_width:
            return f"unsteady: interval of ± {half:.1%} after {len(usable)} invocations"
    return None


def _narrow(usable: Sequence[Invocation], workload: Workload, protocol: MeasurementProtocol) -> bool:
    half = _summary(workload, usable, "ok", None).relative_half_width
    return half is not None and half <= protocol.relative_half_width


def _summary(
    workload: Workload, invocations: Sequence[Invocation], status: RunStatus, cause: str | None
) -> Measurement:
    medians = [item.median_s for item in invocations if item.median_s is not None]
    if not medians or status == "failed":
        return Measurement(workload, status, None, None, None, 0.0, len(invocations), cause)
    center = median(medians)
    lower, upper, confidence = median_interval(medians, MIN_CONFIDENCE) or (min(medians), max(medians), 0.0)
    return Measurement(workload, status, center, lower, upper, confidence, len(medians), cause)
