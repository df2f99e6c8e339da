"""A board that exists on a simulated clock only: the agent's side of the protocol, and faults at chosen moments.

Hours pass in milliseconds, so that thousands of faults can be tried (`farm/simulated_device.py` leads there). Latencies
are known and free of noise: what a campaign reports can be compared with the truth.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devices._link import ConnectionLost
from devices.agent import PROTOCOL_VERSION
from devices.agent._wire import Closed, Lines, decode

CALLS = 30
_MEASURE_S = 0.4
_STAGE_S = 0.05
_START_S = 0.3
_SLOWDOWN = 1.5


class ControllerKilled(BaseException):
    """The controller is gone at once, wherever it was."""


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Return the seconds on this clock."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


@dataclass
class Fault:
    """What happens at a moment (seconds on the clock) and for how long it lasts."""

    kind: str
    at_s: float
    lasts_s: float = 0.0
    text: bytes = b""


@dataclass
class SimulatedBoard:
    """The state of the board, which outlives connections and agents."""

    clock: Clock
    faults: deque[Fault] = field(default_factory=deque)
    boot: int = 0
    blobs: set[str] = field(default_factory=set)
    agents: set[int] = field(default_factory=set)
    throttle_events: int = 0
    #: What is in force, and until when.
    until_s: dict[str, float] = field(default_factory=dict)
    #: Faults that hit the next measurement or answer.
    pending: deque[Fault] = field(default_factory=deque)
    struck: list[str] = field(default_factory=list)

    def active(self, kind: str) -> bool:
        """Return whether a lasting fault is in force."""
        return self.clock.now_s < self.until_s.get(kind, 0.0)

    def pass_until(self, at_s: float, line: SimulatedLines | None) -> None:
        """Let time pass up to a moment; faults on the way strike, and may raise."""
        while self.faults and self.faults[0].at_s <= at_s:
            fault = self.faults.popleft()
            self.clock.now_s = max(self.clock.now_s, fault.at_s)
            self.strike(fault, line)
        self.clock.now_s = max(self.clock.now_s, at_s)

    def strike(self, fault: Fault, line: SimulatedLines | None) -> None:
        """Let a fault happen; raise what the controller notices of it at once."""
        self.struck.append(fault.kind)
        self.until_s[fault.kind] = self.clock.now_s + fault.lasts_s
        if fault.kind in ("reboot", "reboot_twice"):
            self.boot += 1
            self.agents.clear()
        if fault.kind == "blobs_lost":
            self.blobs.clear()
        if fault.kind == "controller_killed":
            self.agents.clear()  # they see the end of their input
            raise ControllerKilled
        if fault.kind in (
            "worker_killed",
            "out_of_memory",
            "torn",
            "hostile",
            "duplicate",
            "reboot_twice",
            "cut_in_transfer",
        ):
            self.pending.append(fault)
        if fault.kind in _CUTTING and line is not None:
            line.cut()
        if fault.kind == "agent_killed" and line is not None:
            line.end()

    def take(self, *kinds: str) -> Fault | None:
        """Return and forget a pending fault of these kinds."""
        for fault in self.pending:
            if fault.kind in kinds:
                self.pending.remove(fault)
                return fault
        return None

    def latency_s(self, sha256: str) -> float:
        """Return the truth about a model."""
        return 1e-3 * (0.5 + int(sha256[:8], 16) / 2**32)


#: Faults that end the connection; what else they do lasts for a while.
_CUTTING = (
    "cut", "reboot", "reboot_twice", "host_key", "login", "runtime", "second_user", "half_open",
)  # fmt: skip


class SimulatedLines(Lines):
    """The line to one simulated agent."""

    def __init__(self, board: SimulatedBoard, number: int) -> None:
        super().__init__()
        self._board = board
        self._number = number
        self._requests: deque[dict[str, Any]] = deque()
        self._ready: deque[tuple[float, bytes]] = deque()
        self._state = "open"
        board.agents.add(number)
        host = {"usable_cpus": 4, "machine": "simulated"}
        self._say(0.0, {"op": "hello", "protocol": PROTOCOL_VERSION, "boot_id": f"{board.boot:08x}", "host": host})

    def cut(self) -> None:
        """Lose the connection; the agent notices the end of its input."""
        self._state = "cut"
        self._board.agents.discard(self._number)

    def end(self) -> None:
        """Let the agent die."""
        self._state = "ended"
        self._board.agents.discard(self._number)

    def send(self, message: dict[str, Any]) -> None:
        """Take a request."""
        self.need_open()
        if message.get("op") == "quit":
            self.end()
            return
        self._requests.append(json.loads(json.dumps(message, allow_nan=False)))

    def receive(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """Return the next answer, letting the time pass that it takes."""
        self.need_open()
        latest = self._board.clock.now_s + (1e9 if timeout_s is None else timeout_s)
        while not self._ready:
            if not self._requests or self._board.active("hang"):
                self._board.pass_until(latest, self)
                self.need_open()
                return None
            self._serve(self._requests[0])
        due, line = self._ready[0]
        if due > latest:
            self._board.pass_until(latest, self)
            self.need_open()
            return None
        self._board.pass_until(due, self)
        self.need_open()
        self._ready.popleft()
        return decode(line)

    def need_open(self) -> None:
        """Raise what has become of the line."""
        if self._state == "cut":
            raise ConnectionLost("cut")
        if self._state == "ended":
            raise Closed("ended")

    def _serve(self, request: dict[str, Any]) -> None:
        """Answer one request; faults strike while it is worked on."""
        seconds = {"begin": 0.01, "probe": _START_S, "measure": _MEASURE_S, "stage": _STAGE_S}.get(request["op"], 0.01)
        throttled = self._board.active("throttled")
        before = self._board.throttle_events
        self._board.pass_until(self._board.clock.now_s + seconds, self)
        self.need_open()
        if self._board.active("hang"):
            return
        self._requests.popleft()
        throttled = throttled or self._board.active("throttled") or self._struck_meanwhile("throttled", seconds)
        self._board.throttle_events += throttled
        answer = self._answer(request, throttled, before)
        odd = self._board.take("torn", "hostile", "duplicate") if request["op"] == "measure" else None
        line = json.dumps({**answer, "id": request["id"]}).encode()
        if odd is not None and odd.kind != "duplicate":
            line = odd.text or line[: len(line) // 2]
        self._ready.append((self._board.clock.now_s, line))
        if odd is not None and odd.kind == "duplicate":
            self._ready.append((self._board.clock.now_s, line))

    def _struck_meanwhile(self, kind: str, seconds: float) -> bool:
        return self._board.until_s.get(kind, 0.0) > self._board.clock.now_s - seconds

    def _answer(self, request: Mapping[str, Any], throttled: bool, before: int) -> dict[str, Any]:
        board, op = self._board, request["op"]
        if op == "begin" and board.active("second_user"):
            return {"ok": False, "stage": "lease", "cause": "another@desk (process 7)"}
        if op == "probe" and board.active("runtime"):
            return {"ok": False, "stage": "runtime", "cause": "ImportError: wrong ELF class"}
        if op == "probe":
            return {"ok": True, "runtime": {"name": "simulated", "version": "1"}, "state": {}}
        if op in ("room", "stage") and board.active("disk_full"):
            return {"ok": False, "stage": "disk", "cause": "disk full"}
        if op == "room":
            return {"ok": True, "path": "/home/board/blobs"}
        if op == "adopt":
            board.blobs.add(str(request["sha256"]))
            return {"ok": True}
        if op == "measure" and board.active("runtime_gone"):
            return {"ok": False, "stage": "runtime", "cause": "ImportError: it was there before"}
        if op == "measure":
            return self._measured(str(request["blob"]), throttled, before)
        return {"ok": True}

    def _measured(self, sha256: str, throttled: bool, before: int) -> dict[str, Any]:
        board = self._board
        if sha256 not in board.blobs:
            return {"ok": False, "stage": "missing", "cause": "not on the board"}
        fault = board.take("worker_killed", "out_of_memory")
        if fault is not None:
            stage = "memory" if fault.kind == "out_of_memory" else "killed"
            return {"ok": False, "stage": stage, "cause": "signal 9"}
        again = board.take("reboot_twice")
        if again is not None:
            board.strike(Fault("reboot", board.clock.now_s, again.lasts_s), self)
            self.need_open()
        ns = int(board.latency_s(sha256) * (_SLOWDOWN if throttled else 1.0) * 1e9)
        now_s = board.clock.now_s
        return {
            "ok": True,
            "samples_ns": [ns] * CALLS,
            "busy_s": _MEASURE_S - 0.02,
            "cpu_s": _MEASURE_S - 0.02,
            "elapsed_s": _MEASURE_S,
            "stop": "ci",
            "before": {"monotonic_s": now_s - _MEASURE_S, "throttle": {"events": before}},
            "after": {"monotonic_s": now_s, "throttle": {"events": board.throttle_events}},
        }

    def _say(self, after_s: float, message: dict[str, Any]) -> None:
        self._ready.append((self._board.clock.now_s + after_s, json.dumps(message).encode()))
