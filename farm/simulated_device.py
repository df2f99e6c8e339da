"""A device whose sessions lead to a simulated board, through the same `AgentSession` as to real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from devices._agent_session import AgentSession
from devices._base import Check, Device
from devices._config import DeviceConfig
from devices._errors import BoardFull, HostKeyRefused, LoginRefused, Unreachable
from devices._link import Link
from devices.agent._wire import Lines, WireError
from farm.simulated import SimulatedBoard, SimulatedLines
from hilnas.deadline import Deadline
from hilnas.records import Artifact, Environment

_UPLOAD_S = 0.2


class SimulatedLink(Link):
    """Connects to a simulated board."""

    shares_files = False
    ahead = 1
    patience_s = 300.0

    def __init__(self, board: SimulatedBoard) -> None:
        self._board = board
        self._lines: list[SimulatedLines] = []
        self._next = 0

    def start(self, deadline: Deadline) -> Lines:
        """Return the line to a fresh agent; what stands in the way is raised as by a real board."""
        board = self._board
        board.pass_until(board.clock.now_s + 0.05, None)
        if any(board.active(kind) for kind in ("cut", "half_open", "reboot", "reboot_twice")):
            board.pass_until(board.clock.now_s + 1.0, None)
            raise Unreachable("sim: no route")
        if board.active("host_key"):
            raise HostKeyRefused("sim: the host key HAS CHANGED")
        if board.active("login"):
            raise LoginRefused("sim: not let in")
        for line in self._lines:
            line.end()  # the same token takes the lease over
        self._next += 1
        self._lines.append(SimulatedLines(board, self._next))
        return self._lines[-1]

    def upload(self, artifact: Artifact, folder: str, name: str) -> None:
        """Send a model."""
        board = self._board
        board.pass_until(board.clock.now_s + _UPLOAD_S, self._lines[-1])
        if board.take("cut_in_transfer") is not None:
            self._lines[-1].cut()
        if board.active("disk_full"):
            raise BoardFull("sim: the disk is full")
        try:
            self._lines[-1].need_open()
        except WireError as error:
            raise Unreachable("sim: the connection was lost in the transfer") from error

    def close(self) -> None:
        """End every agent."""
        for line in self._lines:
            line.end()


class Simulated(Device):
    """A device whose sessions lead to a simulated board."""

    default_backend = "symbolic"

    def __init__(self, config: DeviceConfig, board: SimulatedBoard) -> None:
        super().__init__(config)
        self.board = board

    def probe(self) -> Environment:
        """Return the fingerprint."""
        with self.session(Deadline.never()) as session:
            return session.environment

    @contextmanager
    def session(self, deadline: Deadline) -> Iterator[AgentSession]:
        """Open a session on the board's clock."""
        clock = self.board.clock
        session = AgentSession(self.config, "symbolic", SimulatedLink(self.board), clock, clock.sleep)
        try:
            session.open(Deadline(float("inf"), clock))
            yield session
        finally:
            session.close()

    def checks(self) -> list[Check]:
        """Return that it is there."""
        return [Check("simulated", True, "exists on a simulated clock")]
