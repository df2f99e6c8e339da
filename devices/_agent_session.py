"""A session with an agent: requests out, validated answers in, and the judgement of the device's state.

What an agent says is untrusted: lines are size-limited, answers validated, texts cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from devices._base import Session
from devices._config import DeviceConfig
from devices._errors import AgentLost, AgentProtocolError, RuntimeMissing
from devices.agent import PROTOCOL_VERSION
from devices.agent._wire import Closed, Lines, WireError
from hilnas.deadline import Deadline
from hilnas.records import Artifact, Environment, MeasurementProtocol, Reading, Run

#: Others may use the cores we leave free, and at least this much of one: one busy neighbour moves the median of a
#: single thread by less than 1 %, one that shares our core by much more.
_MIN_FOREIGN_CORES = 0.5
#: The hypervisor took more than this many cores while we timed.
_MAX_STOLEN_CORES = 0.1
#: A single thread that computes is off its core for more than this share of the time: it was pushed off.
_MAX_PREEMPTED = 0.05
#: What the clock of /proc/stat cannot resolve in a short invocation (ticks of 10 ms on each side).
_TICK_SLACK_S = 0.04
_START_S = 60.0

_Seconds = Annotated[float, Field(ge=0, lt=1e7, allow_inf_nan=False)]


class _Answer(BaseModel):
    """What an agent may answer; unknown keys are dropped."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int
    ok: bool
    stage: Annotated[str, Field(max_length=40)] = ""
    cause: Annotated[str, Field(max_length=4096)] = ""
    samples_ns: Annotated[list[Annotated[int, Field(gt=0, lt=10**13)]], Field(max_length=500_000)] = []
    calls_per_sample: Annotated[int, Field(ge=1)] = 1
    warmup_converged: bool = True
    warmup_calls: int = 0
    stop: Annotated[str, Field(max_length=40)] = ""
    load_s: _Seconds = 0.0
    first_run_s: _Seconds = 0.0
    warmup_s: _Seconds = 0.0
    busy_s: _Seconds = 0.0
    cpu_s: _Seconds = 0.0
    wall_s: _Seconds = 0.0
    elapsed_s: _Seconds = 0.0
    peak_bytes: Annotated[int, Field(ge=0)] = 0
    model: dict[str, Any] = {}
    runtime: dict[str, Any] = {}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    state: dict[str, Any] = {}


class AgentSession(Session):
    """Talks to one agent process; `start` gives a fresh connection and is called again when the agent is lost."""

    def __init__(self, config: DeviceConfig, backend: str, start: Callable[[], Lines]) -> None:
        self._config = config
        self._backend = backend
        self._start = start
        self._lines: Lines | None = None
        self._next_id = 0
        self._options = config.options.model_dump(mode="json")
        self._host: Mapping[str, Any] = {}

    def open(self, deadline: Deadline) -> None:
        """Start the agent and learn the environment; raise RuntimeMissing, AgentLost or AgentProtocolError."""
        answer = self._ask({"op": "probe"}, deadline.sooner(_START_S))
        if not answer.ok:
            raise RuntimeMissing(
                f"{self._config.name}: the runtime of the backend {self._backend!r} cannot be used: {answer.cause}",
                "It is not installed for the Python that runs the agent, or does not fit this machine.",
                f"Run: hilnas devices doctor {self._config.name}",
            )
        governors = answer.state.get("cpu_clock", {}).get("governors", [])
        facts = {"host": dict(self._host), "runtime": answer.runtime, "options": self._options, "governors": governors}
        self.environment = Environment(facts)

    def state(self) -> Mapping[str, Any]:
        """Return what the sensors say now."""
        return self._ask({"op": "state"}, Deadline.after(_START_S)).state

    def measure(self, artifact: Artifact, protocol: MeasurementProtocol) -> Run:
        """Return one invocation; whatever goes wrong with it becomes its status."""
        request = {
            "op": "measure",
            "path": artifact.path,
            "protocol": protocol.to_json(),
            "timeout_s": protocol.timeout_s,
        }
        try:
            answer = self._ask(request, Deadline.after(protocol.timeout_s + 30.0))
        except (AgentLost, AgentProtocolError) as error:
            self._lines = None  # the next request starts a fresh agent
            return Run(artifact.workload, "failed", cause=f"agent: {error.what}", transient=True)
        if not answer.ok:
            transient = answer.stage in ("killed", "timeout")
            return Run(
                artifact.workload, "failed", cause=_plain(f"{answer.stage}: {answer.cause}"), transient=transient
            )
        return self._run(artifact, answer)

    def _run(self, artifact: Artifact, answer: _Answer) -> Run:
        threads = self._config.options.threads
        doubt = _doubt(answer, float(self._host.get("usable_cpus", 1)) - threads, threads)
        readings = (
            Reading("latency_s", tuple(ns / 1e9 for ns in answer.samples_ns)),
            Reading("load_s", (answer.load_s,)),
            Reading("first_run_s", (answer.first_run_s,)),
            Reading("peak_bytes", (float(answer.peak_bytes),)),
        )
        return Run(
            artifact.workload,
            "rejected" if doubt else "ok",
            readings,
            doubt,
            transient=bool(doubt),
            warmup_converged=answer.warmup_converged,
            stop_reason=answer.stop,
            busy_s=answer.busy_s,
            wall_s=answer.elapsed_s,
            facts={
                "calls_per_sample": answer.calls_per_sample,
                "warmup_s": answer.warmup_s,
                "warmup_calls": answer.warmup_calls,
                "cpu_s": answer.cpu_s,
                **answer.model,
            },
            state={"before": answer.before, "after": answer.after},
        )

    def _ask(self, request: dict[str, Any], deadline: Deadline) -> _Answer:
        if self._lines is None:
            self._lines = self._start()
            self._greet(self._lines, deadline)
        self._next_id += 1
        message = {**request, "id": self._next_id, "backend": self._backend, "options": self._options}
        try:
            self._lines.send(message)
            answer = _Answer.model_validate(self._receive(self._lines, deadline))
        except (WireError, ValidationError) as error:
            raise _as_device_error(self._config.name, error) from error
        if answer.id != self._next_id:
            raise AgentProtocolError(f"{self._config.name}: the agent answers request {answer.id}, not {self._next_id}")
        return answer

    def _greet(self, lines: Lines, deadline: Deadline) -> None:
        try:
            hello = self._receive(lines, deadline)
        except WireError as error:
            raise _as_device_error(self._config.name, error) from error
        if hello.get("op") != "hello" or hello.get("protocol") != PROTOCOL_VERSION:
            raise AgentProtocolError(f"{self._config.name}: the agent does not speak protocol {PROTOCOL_VERSION}")
        host = hello.get("host", {})
        self._host = host if isinstance(host, dict) else {}

    def _receive(self, lines: Lines, deadline: Deadline) -> dict[str, Any]:
        message = lines.receive(deadline.remaining())
        if message is None:
            raise AgentLost(f"{self._config.name}: the agent does not answer", "It hangs, or the time limit is short.")
        return message


def _as_device_error(name: str, error: Exception) -> AgentLost | AgentProtocolError:
    if isinstance(error, Closed):
        return AgentLost(f"{name}: the agent has gone", "It was killed or crashed.")
    return AgentProtocolError(f"{name}: the agent's answer makes no sense: {_plain(str(error))}")


def _doubt(answer: _Answer, free_cores: float, threads: int) -> str | None:
    """Return why the state of the device makes the samples doubtful, None when nothing does."""
    before, after = answer.before, answer.after
    throttled = _difference(before, after, "throttle", "events")
    if throttled:
        return f"throttled: {throttled:.0f} events while it was timed"
    preempted = 1 - answer.cpu_s / answer.busy_s if threads == 1 and answer.busy_s > 0 else 0.0
    if preempted > _MAX_PREEMPTED:
        return f"contended: the worker was off its core for {preempted:.0%} of the time"
    wall_s = float(after.get("monotonic_s", 0.0)) - float(before.get("monotonic_s", 0.0))
    if wall_s <= 0:
        return None
    stolen_s = _difference(before, after, "cpu_load", "stolen_s")
    if stolen_s > _MAX_STOLEN_CORES * wall_s + _TICK_SLACK_S:
        return f"contended: the hypervisor took {stolen_s / wall_s:.2f} cores"
    # What the worker used outside the timed part (load, first run) is ours as well.
    own_s = answer.cpu_s + (answer.elapsed_s - answer.busy_s)
    foreign_s = _difference(before, after, "cpu_load", "busy_s") - own_s
    if foreign_s > max(_MIN_FOREIGN_CORES, free_cores) * wall_s + _TICK_SLACK_S:
        return f"contended: other processes used {foreign_s / wall_s:.2f} cores"
    return None


def _difference(before: Mapping[str, Any], after: Mapping[str, Any], sensor: str, name: str) -> float:
    values = [state.get(sensor, {}).get(name) for state in (before, after)]
    if any(not isinstance(value, int | float) or not math.isfinite(value) for value in values):
        return 0.0
    return float(values[1]) - float(values[0])


def _plain(text: str) -> str:
    """Return a foreign text without control characters, cut to a bearable length."""
    return "".join(char if char.isprintable() else " " for char in text)[:1000]
