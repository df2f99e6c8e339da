"""A session with an agent: models to it, invocations from it, and going on after whatever gets lost.

A lost connection is taken up again and what was asked is asked again; a board that restarted, or an agent that died,
makes the invocation a failed one. Requests may be sent ahead of the answers, so that the device need not wait for us.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices._base import Event, Session
from devices._checks import fingerprint_of
from devices._config import DeviceConfig
from devices._conversation import Conversation
from devices._errors import (
    AgentLost,
    AgentProtocolError,
    BoardFull,
    PowerRefused,
    RuntimeMissing,
    Unreachable,
)
from devices._lease import busy
from devices._link import Link
from devices._runs import energy_sensors, run_of
from devices._untrusted import Answer
from hilnas.deadline import Deadline
from hilnas.errors import DeviceError
from hilnas.records import Artifact, Environment, MeasurementProtocol, Run, Workload

_START_S = 180.0
_STAGE_S = 180.0
_MAX_LOSSES = 5
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0


@dataclass(eq=False)
class _Asked:
    """An invocation that is wanted: which conversation its requests went into, and under which numbers."""

    artifact: Artifact
    conversation: Conversation | None = None
    stage_id: int | None = None
    measure_id: int = 0
    losses: int = 0
    #: How often the board had restarted when the connection was lost.
    restarts: int = 0


class AgentSession(Session):
    """Talks to the agents that a link starts, one at a time."""

    def __init__(
        self,
        config: DeviceConfig,
        backend: str,
        link: Link,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config = config
        self._backend = backend
        self._link = link
        self._clock = clock
        self._sleep = sleep
        self._conversation: Conversation | None = None
        self._token = secrets.token_hex(16)
        self._options = config.options.model_dump(mode="json")
        self._boot_id: str | None = None
        self._restarts = 0
        self._host: Mapping[str, Any] = {}
        self._blamed: Counter[str] = Counter()
        self._staged: set[str] = set()
        self._events: list[Event] = []
        self._known: Environment | None = None

    def open(self, deadline: Deadline) -> None:
        """Start the agent and learn the environment; raise the DeviceError that stands in the way."""
        self._connect(deadline.sooner(_START_S))

    def close(self) -> None:
        """Let the agent undo what it changed and end."""
        if self._conversation is not None:
            self._conversation.end()
        self._drop()
        self._link.close()

    def drain_events(self) -> list[Event]:
        """Return what has happened to the device since the last call."""
        found, self._events = self._events, []
        return found

    def state(self) -> Mapping[str, Any]:
        """Return what the sensors say now, the slow ones too."""
        return self.ask({"op": "state"}, Deadline.after(_START_S, self._clock)).state

    def ask(self, request: Mapping[str, Any], deadline: Deadline) -> Answer:
        """Return the answer to one request outside of measuring; raise DeviceError when there is none."""
        return self._connected().ask(request, deadline)

    def measure(self, artifact: Artifact, protocol: MeasurementProtocol) -> Run:
        """Return one invocation; whatever goes wrong with it becomes its status."""
        return next(self.measure_many([artifact], protocol))

    def measure_many(self, artifacts: Iterable[Artifact], protocol: MeasurementProtocol) -> Generator[Run, None, None]:
        """Give one run an artifact, in order; the next artifacts are drawn while an earlier one is measured."""
        source = iter(artifacts)
        waiting: deque[_Asked] = deque()
        try:
            while True:
                while len(waiting) <= self._link.ahead and (artifact := next(source, None)) is not None:
                    waiting.append(_Asked(artifact))
                    if len(waiting) > 1:
                        self._post_ahead(waiting, protocol)
                if not waiting:
                    return
                run = self._settle(waiting, protocol)
                waiting.popleft()
                yield run
        finally:
            if waiting:
                self._drop()  # answers to what nobody waits for any more must not be taken for others

    def _settle(self, waiting: Sequence[_Asked], protocol: MeasurementProtocol) -> Run:
        """Return the run of the first that waits, through losses of connection and agent."""
        first = waiting[0]
        while True:
            try:
                conversation = self._connected()
                if first.losses and self._restarts > first.restarts:
                    return self._blame(first.artifact.workload)
                self._post_all(waiting, protocol)
                deadline = Deadline.after(_STAGE_S + protocol.limit_s, self._clock)
                run = self._run(first, conversation.answer(first.measure_id, deadline), protocol)
            except Unreachable as error:
                if self._conversation is None:
                    raise
                run = self._lost(first, error)
            except (AgentLost, AgentProtocolError) as error:
                self._drop()  # the next request starts a fresh agent
                self._event("agent", error.what)
                run = Run(first.artifact.workload, "failed", cause=f"agent: {error.what}", transient=True)
            if run is not None:
                return run

    def _lost(self, asked: _Asked, error: Unreachable) -> Run | None:
        """Return None when the same invocation is to be asked for again, on a new connection."""
        self._drop()
        self._event("connection", error.what)
        asked.losses += 1
        asked.restarts = self._restarts
        if asked.losses <= _MAX_LOSSES:
            return None
        cause = f"connection: lost {asked.losses} times while this was measured"
        return Run(asked.artifact.workload, "failed", cause=cause, transient=True)

    def _blame(self, workload: Workload) -> Run:
        """Return the failure of what was measured when the board restarted; the second time it is not tried again."""
        self._blamed[workload.key] += 1
        again = self._blamed[workload.key] > 1
        cause = "restart: the board restarted while this was measured" + (", for the second time" if again else "")
        return Run(workload, "failed", cause=cause, transient=not again)

    def _post_ahead(self, waiting: Sequence[_Asked], protocol: MeasurementProtocol) -> None:
        """Send what can be sent without disturbing; a connection that is lost here is noticed at the answer."""
        if self._conversation is None or waiting[0].conversation is not self._conversation:
            return
        try:
            self._post_all(waiting, protocol)
        except (Unreachable, AgentLost):
            return

    def _post_all(self, waiting: Sequence[_Asked], protocol: MeasurementProtocol) -> None:
        """Send the requests that the present conversation has not got yet, in order.

        A model that must be sent whole goes only when nothing is timed: when its turn has come.
        """
        for asked in waiting:
            if asked.conversation is self._conversation:
                continue
            whole = not self._link.shares_files and asked.artifact.recipe_path is None
            if whole and asked.artifact.sha256 not in self._staged and asked is not waiting[0]:
                return
            self._post(asked, protocol)

    def _post(self, asked: _Asked, protocol: MeasurementProtocol) -> None:
        conversation = self._connected()
        artifact = asked.artifact
        where: dict[str, Any] = {"path": artifact.path}
        asked.stage_id = None
        if not self._link.shares_files:
            where = {"blob": artifact.sha256}
            if artifact.sha256 not in self._staged:
                asked.stage_id = self._stage(conversation, artifact)
                self._staged.add(artifact.sha256)
        request = {"op": "measure", "protocol": protocol.to_json(), **where, **self._runtime()}
        if protocol.purpose == "energy":
            request["energy_sensors"] = energy_sensors(self._config, self._backend)
        asked.measure_id = conversation.send({**request, "timeout_s": protocol.limit_s})
        asked.conversation = conversation

    def _stage(self, conversation: Conversation, artifact: Artifact) -> int | None:
        """Bring a model to the board; return the number of a request whose answer is still to come."""
        if artifact.recipe_path is not None:
            recipe = base64.b64encode(Path(artifact.recipe_path).read_bytes()).decode()
            size = {"size_bytes": artifact.size_bytes}
            return conversation.send({"op": "stage", "sha256": artifact.sha256, "recipe": recipe, **size})
        deadline = Deadline.after(_STAGE_S, self._clock)
        room = conversation.ask({"op": "room", "size_bytes": artifact.size_bytes}, deadline)
        self._need_room(room)
        part = f"{artifact.sha256}.{secrets.token_hex(8)}.part"
        self._link.upload(artifact, room.path, part)
        adopted = conversation.ask({"op": "adopt", "part": part, "sha256": artifact.sha256}, deadline)
        if not adopted.ok:
            raise Unreachable(f"{self._config.name}: a model did not arrive whole", adopted.cause, "")
        return None

    def _need_room(self, answer: Answer) -> None:
        if answer.ok:
            return
        raise BoardFull(
            f"{self._config.name}: no room for a model on the board",
            answer.cause,
            "Free some space there, then continue with: hilnas runs resume RUN",
        )

    def _run(self, asked: _Asked, answer: Answer, protocol: MeasurementProtocol) -> Run | None:
        """Return the run of an answer, None when the model has to be staged and measured again."""
        workload = asked.artifact.workload
        if answer.ok:
            return self._measured(workload, answer, protocol)
        if answer.stage == "missing" and asked.conversation is not None:
            return self._not_staged(asked)
        if answer.stage == "disk":
            self._need_room(answer)
        if answer.stage == "runtime":
            raise self._refused(answer)  # the device's fault, not the model's
        transient = answer.stage in ("killed", "timeout", "agent", "stage")
        return Run(workload, "failed", cause=f"{answer.stage}: {answer.cause}"[:1000], transient=transient)

    def _not_staged(self, asked: _Asked) -> Run | None:
        self._staged.discard(asked.artifact.sha256)
        stage_id, conversation = asked.stage_id, asked.conversation
        asked.conversation = None
        if stage_id is None or conversation is None:
            asked.losses += 1  # it was there once and has been removed
            if asked.losses <= _MAX_LOSSES:
                return None
            return Run(asked.artifact.workload, "failed", cause="stage: the board loses this model", transient=True)
        staged = conversation.answer(stage_id, Deadline.after(_STAGE_S, self._clock))
        if staged.stage == "disk":
            self._need_room(staged)
        transient = staged.stage == "killed"
        return Run(asked.artifact.workload, "failed", cause=f"stage: {staged.cause}"[:1000], transient=transient)

    def _measured(self, workload: Workload, answer: Answer, protocol: MeasurementProtocol) -> Run:
        usable = self._host.get("usable_cpus", 1)
        usable_cpus = float(usable) if isinstance(usable, int) else 1.0
        return run_of(workload, answer, protocol.purpose, self._config.options.threads, usable_cpus)

    def _runtime(self) -> dict[str, Any]:
        return {"backend": self._backend, "options": self._options}

    def _connected(self) -> Conversation:
        if self._conversation is None:
            self._connect(Deadline.after(max(_START_S, self._link.patience_s), self._clock))
        assert self._conversation is not None
        return self._conversation

    def _connect(self, deadline: Deadline) -> None:
        """Start an agent, be patient with a board that was there before, and make sure that it is still the same."""
        patience = Deadline.after(self._link.patience_s if self._known is not None else 0.0, self._clock)
        pause_s = _FIRST_PAUSE_S
        died = False
        while True:
            try:
                self._begin(deadline)
                return
            except AgentLost as error:
                self._drop()
                if died:
                    raise
                died = True  # it may have been damaged on the board: the link sends it anew
                self._event("agent", error.what)
                continue
            except Unreachable as error:
                self._drop()
                if patience.expired or deadline.expired:
                    raise
                self._event("connection", error.what)
            self._sleep(min(pause_s, patience.remaining()))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _begin(self, deadline: Deadline) -> None:
        conversation = Conversation(self._config.name, self._link.start(deadline), deadline)
        claimed = conversation.ask({"op": "begin", "token": self._token, **self._claim()}, deadline)
        if not claimed.ok:
            raise self._refused(claimed)
        probed = conversation.ask({"op": "probe", **self._runtime()}, deadline)
        if not probed.ok:
            raise self._refused(probed)
        hello = conversation.hello
        self._host = hello.host
        if self._boot_id not in (None, hello.boot_id):
            self._restarts += 1
            self._event("restart", f"{self._config.name} has restarted")
        self._boot_id = hello.boot_id
        self._conversation = conversation
        self._staged.clear()
        self._need_same(fingerprint_of(hello.host, probed, self._options))

    def _claim(self) -> dict[str, Any]:
        """Return what the link claims; the meter of the config is read on every kind of device."""
        meter = {"command": self._config.meter.model_dump(mode="json")} if self._config.meter.argv else {}
        return {**self._link.claim, "sensors": {**meter, **self._link.claim.get("sensors", {})}}

    def _need_same(self, found: Environment) -> None:
        if self._known is None:
            self._known = self.environment = found
        if self._known.key != found.key:
            changed = [key for key in found.facts if found.facts[key] != self._known.facts.get(key)]
            self._drop()
            raise DeviceError(
                f"{self._config.name} has changed while it was measured: {', '.join(changed)}",
                "Measurements of different machines, runtimes or power states are never put together.",
                "What was measured is kept. Restore it, then continue with: hilnas runs resume RUN",
            )

    def _refused(self, answer: Answer) -> DeviceError:
        name = self._config.name
        if answer.stage == "lease":
            return busy(name, answer.cause)
        if answer.stage == "power":
            return PowerRefused(f"{name}: {answer.cause}", "", f"Run: hilnas devices doctor {name}")
        if answer.stage != "runtime":
            return AgentLost(f"{name}: {answer.stage}: {answer.cause}", "", f"Run: hilnas devices doctor {name}")
        return RuntimeMissing(
            f"{name}: the runtime of the backend {self._backend!r} cannot be used: {answer.cause}",
            "It is not installed for the Python that runs the agent, or does not fit this machine.",
            f"Run: hilnas devices doctor {name}",
        )

    def _drop(self) -> None:
        self._conversation = None
        self._staged.clear()

    def _event(self, kind: str, text: str) -> None:
        self._events.append(Event(kind, text))
