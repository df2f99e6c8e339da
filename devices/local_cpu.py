"""This machine's CPU, measured by the agent in processes of its own.

kind = "local_cpu"
backend = "onnxruntime"

[options]
threads = 1
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from devices._agent_session import AgentSession
from devices._base import Check, Device
from devices._checks import agent_checks
from devices._errors import translated
from devices._lease import lease
from devices._link import Link
from devices._package import agent_file
from devices.agent._wire import Lines, PipeLines
from hilnas.deadline import Deadline
from hilnas.errors import DeviceError
from hilnas.records import Environment


class LocalCpu(Device):
    """The machine hilnas runs on."""

    default_backend = "onnxruntime"

    def probe(self) -> Environment:
        """Return the fingerprint, learnt from a short-lived agent; no lease is needed."""
        with self._opened(Deadline.after(120.0)) as session:
            return session.environment

    @contextmanager
    def session(self, deadline: Deadline) -> Iterator[AgentSession]:
        """Lease the CPU, start an agent, end both."""
        with lease("cpu"), self._opened(deadline) as session:
            yield session

    @contextmanager
    def _opened(self, deadline: Deadline) -> Iterator[AgentSession]:
        session = AgentSession(self.config, self.backend, _Processes())
        try:
            with translated(self.config.name):
                session.open(deadline)
            yield session
        finally:
            session.close()

    def checks(self) -> list[Check]:
        """Return whether the agent starts, the runtime is there, and the machine is quiet and steady."""
        try:
            with self._opened(Deadline.after(120.0)) as session:
                state = session.state()
        except DeviceError as error:
            return [Check("runtime", False, error.what, f"pip install {self.backend}")]
        return agent_checks(session.environment, state)


class _Processes(Link):
    """Agents as processes of this machine."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, deadline: Deadline) -> Lines:
        """Start a fresh agent and return the line to it."""
        path = str(agent_file())
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if key in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-I", "-u", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "LC_ALL": "C"},
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
