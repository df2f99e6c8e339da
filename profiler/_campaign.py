"""A campaign: many workloads on one device, randomly interleaved, judged, resumable at any moment.

Invocations go round by round: in every round each workload that is not yet decided is invoked once, in random
order. After each invocation the result is committed, so a campaign that is killed continues where it stopped.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from devices._base import Device, Session
from devices._config import DeviceConfig, parse_config
from devices._errors import DeviceBusy
from hilnas import plugins
from hilnas.deadline import Deadline
from hilnas.errors import DeviceError, HilnasError
from hilnas.records import Artifact, Environment, Measurement, MeasurementProtocol, Purpose, Run, Workload
from profiler._beside import BESIDE, wanted
from profiler._errors import DiskFull
from profiler._judgement import Invocation, Verdict, drifted, judge, judge_beside, mark_drift, noise_floor
from profiler._plan import sentinel_workload
from profiler._workspace import Workspace
from profiler.builders._base import Builder

_LOG = logging.getLogger("hilnas.campaign")

_BUSY_PAUSE_S = 2.0

#: Called with (decided, all, text) after every invocation.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a campaign, cumulative over its resumes.

    `duty_cycle`: warm-up and timed calls over campaign seconds (`elapsed_s`, with a session open). `noise_floor`:
    relative standard deviation of the sentinel's medians.
    """

    run_id: str
    device: str
    state: str
    workloads: int
    ok: int
    failed: int
    rejected: int
    pending: int
    invocations: int
    duty_cycle: float | None
    noise_floor: float | None
    elapsed_s: float
    seconds_per_workload: float | None
    median_relative_half_width: float | None
    causes: dict[str, str]


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """What a campaign has given: its summary, and one measurement a workload in the order they were asked for."""

    run_id: str
    summary: Summary
    measurements: list[Measurement]


def measure(
    workspace: Workspace,
    config: DeviceConfig,
    workloads: Sequence[Workload],
    *,
    protocol: MeasurementProtocol | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    space: str | None = None,
    wait_s: float = 0.0,
) -> CampaignResult:
    """Measure workloads newly in a campaign of their own; raise DeviceError when the device cannot be used.

    A device that somebody else measures on is waited for, at most `wait_s`.
    """
    device = open_device(config, workspace)
    protocol = protocol or device.protocol
    if device.deterministic:
        protocol = replace(protocol, min_invocations=1, max_invocations=1, sentinel_every=0)
    unique = list({workload.key: workload for workload in workloads}.values())
    run_id = workspace.store.create_campaign(config.name, config.model_dump(mode="json"), space, protocol, seed, unique)
    return resume(workspace, run_id, progress=progress, device=device, wait_s=wait_s)


def resume(
    workspace: Workspace,
    run_id: str,
    *,
    progress: Progress | None = None,
    device: Device | None = None,
    wait_s: float = 0.0,
) -> CampaignResult:
    """Continue a campaign until every workload is decided; one that has ended is only summed up."""
    campaign = workspace.store.campaign(run_id)
    if device is None:
        device = open_device(parse_config(dict(campaign.config), f"run {run_id}"), workspace)
    work = _Campaign(workspace, campaign.run_id, device, progress or silent)
    if work.pending() or work.open_beside():
        work.run(wait_s)
    return result(workspace, campaign.run_id)


def result(workspace: Workspace, run_id: str) -> CampaignResult:
    """Return what a campaign has given so far, from the records alone."""
    measurements = workspace.store.judged(run_id)
    return CampaignResult(run_id, _summary(workspace, run_id, measurements), measurements)


def open_device(config: DeviceConfig, workspace: Workspace) -> Device:
    """Return the device of a config; a replay device receives its numbers from the workspace."""
    kind = plugins.load("devices", config.kind, Device)
    if config.kind != "replay":
        return kind(config)
    from devices.replay import Replay

    return Replay(config, _recorded(config.name, workspace))


def _recorded(name: str, workspace: Workspace) -> dict[str, float]:
    if name.startswith("run:"):
        measurements = workspace.store.judged(workspace.store.campaign(name.removeprefix("run:")).run_id)
        return {item.workload.subject: item.latency_s for item in measurements if item.latency_s is not None}
    return dict(workspace.store.column_at(name).values)


@dataclass(frozen=True, slots=True)
class _Task:
    """One invocation that is to be made."""

    workload: Workload
    attempt: int
    role: str
    purpose: Purpose = "latency"


class _Campaign:
    """The loop over rounds; what it knows is what the records say."""

    def __init__(self, workspace: Workspace, run_id: str, device: Device, progress: Progress) -> None:
        self._workspace = workspace
        self._store = workspace.store
        self._run_id = run_id
        self._device = device
        self._progress = progress
        campaign = self._store.campaign(run_id)
        self._protocol = campaign.protocol
        self._seed = campaign.seed
        self._plan = self._store.plan(run_id)
        self._found = self._store.invocations(run_id)
        self._beside = {purpose: self._store.invocations(run_id, purpose=purpose) for purpose in BESIDE}
        self._sentinels = [item for items in self._store.invocations(run_id, "sentinel").values() for item in items]
        self._sequence = self._store.next_sequence(run_id)
        self._builder = plugins.load("profiler.builders", device.backend, Builder)(workspace.artifacts)
        self._artifacts: dict[str, Artifact | Run] = {}
        self._clock = time.monotonic()
        self._decided: dict[str, Verdict] = {}

    def pending(self) -> list[Workload]:
        """Return the workloads that need another invocation, drift taken into account."""
        stretches = drifted(self._sentinels, self._protocol.max_drift)
        for workload in self._plan:
            invocations = mark_drift(self._found.get(workload.key, []), stretches)
            self._decided[workload.key] = judge(workload, invocations, self._protocol)
        return [workload for workload in self._plan if not self._decided[workload.key].done]

    def open_beside(self) -> list[_Task]:
        """Return the invocations beside latency that are still wanted, of the first purpose that wants any."""
        for purpose in BESIDE:
            most, n = self._protocol.max_attempts, wanted(self._protocol, purpose)
            found = self._beside[purpose]
            tasks = [
                _Task(workload, len(found.get(workload.key, ())) + 1, "workload", purpose)
                for workload in self._plan
                if not judge_beside(found.get(workload.key, ()), n, most)
                and self._decided[workload.key].measurement.status != "failed"
            ]
            if tasks:
                return tasks
        return []

    def run(self, wait_s: float) -> None:
        """Open a session and go round by round until nothing is pending; then for what is wanted beside latency."""
        handler = _log_file(self._workspace.path / "logs" / f"{self._run_id}.log")
        try:
            with contextlib.ExitStack() as stack:
                session = self._leased(stack, Deadline.after(wait_s))
                self._clock = time.monotonic()
                self._need_same(session.environment)
                self._store.set_state(self._run_id, "running", session.environment)
                self._measure_latencies(session)
                while tasks := self.open_beside():
                    self._take_all(session, tasks, f"{tasks[0].purpose}, {len(tasks)} open")
            self._store.set_state(self._run_id, "finished")
        except BaseException as error:
            _LOG.warning("stopped: %r", error)
            if not isinstance(error, DiskFull):
                self._store.set_state(self._run_id, "interrupted")
            raise
        finally:
            _LOG.removeHandler(handler)
            handler.close()
            self._workspace.artifacts.evict(keep=frozenset())

    def _measure_latencies(self, session: Session) -> None:
        """Go round by round; the last sentinel may show a drift that puts what was decided back in question."""
        while pending := self.pending():
            self._round(session, pending)
            if self._protocol.sentinel_every and not self.pending():
                self._take_all(session, [_Task(sentinel_workload(), 1, "sentinel")])

    def _need_same(self, environment: Environment) -> None:
        """Raise DeviceError when the device is not what it was when the campaign began."""
        before = self._store.campaign(self._run_id).environment
        if before is not None and before != environment.key:
            raise DeviceError(
                f"{self._device.config.name} has changed since the run {self._run_id} began",
                "Its runtime, options or machine differ; such measurements are never put together.",
                "What was measured is kept. Start a new run: hilnas profile",
            )

    def _leased(self, stack: contextlib.ExitStack, deadline: Deadline) -> Session:
        """Open a session, waiting for a device that is in use; raise DeviceBusy when that takes too long."""
        while True:
            try:
                return stack.enter_context(self._device.session(Deadline.never()))
            except DeviceBusy as error:
                if deadline.expired:
                    raise
                self._progress(0, len(self._plan), f"waiting: {error.cause}")
                _LOG.info("waiting: %s", error.cause)
            time.sleep(min(_BUSY_PAUSE_S, deadline.remaining()))

    def _round(self, session: Session, pending: Sequence[Workload]) -> None:
        """Invoke once every pending workload that has the fewest invocations so far, sentinels in between."""
        counts = {workload.key: len(self._found.get(workload.key, ())) for workload in pending}
        fewest = min(counts.values())
        batch = [workload for workload in pending if counts[workload.key] == fewest]
        rng = np.random.default_rng([self._seed, fewest])
        tasks: list[_Task] = []
        every = self._protocol.sentinel_every
        last = self._sentinels[-1].sequence if self._sentinels else -every
        for i in rng.permutation(len(batch)):
            if every and self._sequence + len(tasks) - last >= every:
                last = self._sequence + len(tasks)
                tasks.append(_Task(sentinel_workload(), 1, "sentinel"))
            tasks.append(_Task(batch[i], self._decided[batch[i].key].attempt, "workload"))
        self._take_all(session, tasks, f"round {fewest + 1}, {len(pending)} open")

    def _take_all(self, session: Session, tasks: Sequence[_Task], text: str = "") -> None:
        """Build, measure and commit in order; the session decides how far building may go ahead of measuring.

        All tasks are of one purpose.
        """
        protocol = replace(self._protocol, purpose=tasks[0].purpose)
        open_tasks: deque[tuple[_Task, Artifact | Run]] = deque()

        def artifacts() -> Iterator[Artifact]:
            for task in tasks:
                built = self._build(task.workload)
                open_tasks.append((task, built))
                if isinstance(built, Artifact):
                    yield built

        with contextlib.closing(session.measure_many(artifacts(), protocol)) as runs:
            for run in runs:
                self._commit_failed_builds(session, open_tasks)
                task, built = open_tasks.popleft()
                self._commit(session, task, built, run)
                decided = sum(verdict.done for verdict in self._decided.values())
                self._progress(decided, len(self._plan), text)
        self._commit_failed_builds(session, open_tasks)

    def _commit_failed_builds(self, session: Session, open_tasks: deque[tuple[_Task, Artifact | Run]]) -> None:
        while open_tasks and isinstance(open_tasks[0][1], Run):
            task, failed = open_tasks.popleft()
            assert isinstance(failed, Run)
            self._commit(session, task, failed, failed)

    def _commit(self, session: Session, task: _Task, built: Artifact | Run, run: Run) -> None:
        """Store a run and what happened to the device before it, and keep what judging needs."""
        if run.status != "ok":
            _LOG.info("%s: %s: %s", run.workload.name, run.status, run.cause)
        self._commit_events(session)
        now = time.monotonic()
        self._store.add_run(
            self._run_id,
            run,
            sequence=self._sequence,
            attempt=task.attempt,
            role=task.role,
            artifact=built.sha256 if isinstance(built, Artifact) else None,
            environment=session.environment.key,
            elapsed_s=now - self._clock,
            purpose=task.purpose,
        )
        self._clock = now
        values = run.values()
        median_s = float(np.median(values)) if values else None
        taken = Invocation(self._sequence, task.attempt, run.status, median_s, run.cause, run.transient)
        self._sequence += 1
        if task.role == "sentinel":
            self._sentinels.append(taken)
        elif task.purpose != "latency":
            self._beside[task.purpose].setdefault(task.workload.key, []).append(taken)
        else:
            self._found.setdefault(task.workload.key, []).append(taken)

    def _commit_events(self, session: Session) -> None:
        for event in session.drain_events():
            _LOG.info("%s: %s", event.kind, event.text)
            self._store.add_event(self._run_id, self._sequence, event.kind, event.text)

    def _build(self, workload: Workload) -> Artifact | Run:
        """Return the artifact, built once; a workload that cannot be built is a failed run."""
        if workload.key not in self._artifacts:
            try:
                self._artifacts[workload.key] = self._builder.build(workload)
            except DiskFull:
                raise
            except HilnasError as error:
                self._artifacts[workload.key] = Run(workload, "failed", cause=f"build: {error.what}"[:1000])
        return self._artifacts[workload.key]


def _summary(workspace: Workspace, run_id: str, measurements: Sequence[Measurement]) -> Summary:
    store = workspace.store
    campaign = store.campaign(run_id)
    by_status = {status: [item for item in measurements if item.status == status] for status in _STATUSES}
    sentinels = [item for items in store.invocations(run_id, "sentinel").values() for item in items]
    invocations = sum(map(len, store.invocations(run_id).values()))
    planned = len(store.plan(run_id))
    halves = [item.relative_half_width for item in by_status["ok"]]
    widths = [half for half in halves if half is not None]
    return Summary(
        run_id=run_id,
        device=campaign.device,
        state=campaign.state,
        workloads=planned,
        ok=len(by_status["ok"]),
        failed=len(by_status["failed"]),
        rejected=len(by_status["rejected"]),
        pending=planned - len(measurements),
        invocations=invocations,
        duty_cycle=store.busy_s(run_id) / campaign.wall_s if campaign.wall_s > 0 else None,
        noise_floor=noise_floor(sentinels),
        elapsed_s=campaign.wall_s,
        seconds_per_workload=campaign.wall_s / len(measurements) if measurements else None,
        median_relative_half_width=float(np.median(widths)) if widths else None,
        causes={item.workload.name: item.cause for item in measurements if item.cause is not None},
    )


_STATUSES = ("ok", "failed", "rejected")


def silent(done: int, total: int, text: str) -> None:
    """Show nothing."""


class _LogFile(logging.FileHandler):
    """A log that gives way: a disk too full for it must not hide the error that stopped the campaign."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the record."""

    def close(self) -> None:
        """Close the file, whether or not the rest could be written."""
        with contextlib.suppress(OSError):
            super().close()


def _log_file(path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    return handler
