"""What the devices of this very machine share: a lease, an agent in processes of its own, its end."""

from __future__ import annotations

import os
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from devices._agent_session import AgentSession
from devices._base import Check, Device
from devices._checks import agent_checks
from devices._config import DeviceConfig
from devices._errors import RuntimeMissing, translated
from devices._lease import lease
from devices._link import Link
from devices._package import agent_file
from devices._runtimes import how_to_install
from devices.agent._wire import Lines, PipeLines
from hilnas.deadline import Deadline
from hilnas.errors import DeviceError, UsageError
from hilnas.records import Environment

_PROBE_S = 120.0
#: What of our environment an agent gets to see.
_KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")


class LocalDevice(Device):
    """A device of the machine hilnas runs on."""

    @abstractmethod
    def leases(self) -> tuple[str, ...]:
        """Return what nobody else may measure on meanwhile."""

    def effective(self) -> DeviceConfig:
        """Return the config as the agent gets it; raise UsageError for one that makes no sense for this kind."""
        return self.config

    def remedy(self) -> str:
        """Return the command that brings the runtime to this machine."""
        return how_to_install(self.backend)

    def sensors(self) -> Mapping[str, Any]:
        """Return what sensors are to be told, by their names."""
        return {}

    def probe(self) -> Environment:
        """Return the fingerprint, learnt from a short-lived agent; no lease is needed."""
        with self._opened(Deadline.after(_PROBE_S)) as session:
            return session.environment

    @contextmanager
    def session(self, deadline: Deadline) -> Iterator[AgentSession]:
        """Take the leases, start an agent, end both."""
        with ExitStack() as stack:
            for resource in self.leases():
                stack.enter_context(lease(resource))
            yield stack.enter_context(self._opened(deadline))

    def checks(self) -> list[Check]:
        """Return whether the agent starts, the runtime is there, and the machine is quiet and steady."""
        try:
            with self._opened(Deadline.after(_PROBE_S)) as session:
                state = session.state()
        except UsageError as error:
            return [Check("config", False, error.what, error.remedy)]
        except DeviceError as error:
            return [Check("runtime", False, error.what, error.remedy or self.remedy())]
        return agent_checks(session.environment, state)

    @contextmanager
    def _opened(self, deadline: Deadline) -> Iterator[AgentSession]:
        session = AgentSession(self.effective(), self.backend, Processes(self.sensors()))
        try:
            self._open(session, deadline)
            yield session
        finally:
            session.close()

    def _open(self, session: AgentSession, deadline: Deadline) -> None:
        try:
            with translated(self.config.name):
                session.open(deadline)
        except RuntimeMissing as error:
            raise RuntimeMissing(error.what, error.cause, self.remedy()) from error


class Processes(Link):
    """Agents as processes of this machine."""

    def __init__(self, sensors: Mapping[str, Any] | None = None) -> None:
        self.claim = {"sensors": dict(sensors)} if sensors else {}
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, deadline: Deadline) -> Lines:
        """Start a fresh agent and return the line to it."""
        path = str(agent_file())
        process = subprocess.Popen(
            [sys.executable, "-I", "-u", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**{key: os.environ[key] for key in _KEPT if key in os.environ}, "LC_ALL": "C"},
            start_new_session=True,
        )
        self._started.append(process)
        assert process.stdin is not None and process.stdout is not None
        return PipeLines(process.stdout.fileno(), process.stdin.fileno())

    def close(self) -> None:
        """End every agent that was started."""
        for process in self._started:
            _end(process)
        self._started.clear()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the agent end by closing its input; kill it when it does not."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
