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
from devices._errors import translated
from devices._lease import lease
from devices._package import agent_file
from devices.agent._wire import Lines
from hilnas.deadline import Deadline
from hilnas.errors import DeviceError
from hilnas.records import Environment


class LocalCpu(Device):
    """The machine hilnas runs on."""

    default_backend = "onnxruntime"

    def probe(self) -> Environment:
        """Return the fingerprint, learnt from a short-lived agent; no lease is needed."""
        with _Processes() as processes:
            session = AgentSession(self.config, self.backend, processes.start)
            with translated(self.config.name):
                session.open(Deadline.after(120.0))
            return session.environment

    @contextmanager
    def session(self, deadline: Deadline) -> Iterator[AgentSession]:
        """Lease the CPU, start an agent, end both."""
        with lease("cpu"), _Processes() as processes:
            session = AgentSession(self.config, self.backend, processes.start)
            with translated(self.config.name):
                session.open(deadline)
            yield session

    def checks(self) -> list[Check]:
        """Return whether the agent starts, the runtime is there, and the machine is quiet and steady."""
        try:
            with _Processes() as processes:
                session = AgentSession(self.config, self.backend, processes.start)
                session.open(Deadline.after(120.0))
                state = session.state()
        except DeviceError as error:
            return [Check("runtime", False, error.what, f"pip install {self.backend}")]
        facts = session.environment.facts
        runtime = facts["runtime"]
        found = [
            Check("agent", True, f"Python {facts['host'].get('python')}"),
            Check("runtime", True, f"{runtime.get('name')} {runtime.get('version')}"),
        ]
        return [*found, *(_sensor_check(name, value) for name, value in sorted(state.items()) if name in _WANTED)]


_WANTED = {
    "cpu_clock": "clock changes cannot be seen",
    "temperature": "heat cannot be seen",
    "throttle": "throttling cannot be seen",
    "cpu_load": "foreign load cannot be seen",
}


def _sensor_check(name: str, value: dict[str, object]) -> Check:
    if "unavailable" in value:
        return Check(name, True, f"n/a: {value['unavailable']}", f"nothing to do; {_WANTED[name]}")
    load = value.get("load_1min")
    if isinstance(load, float) and load > 0.5 * (os.cpu_count() or 1):
        return Check(name, False, f"load {load:.2f}", "stop other programs before you measure")
    governors = value.get("governors")
    if isinstance(governors, list) and governors and governors != ["performance"]:
        return Check(name, True, f"governor {governors}", "for steadier clocks: cpupower frequency-set -g performance")
    return Check(name, True, ", ".join(f"{key}={_short(item)}" for key, item in value.items()))


def _short(item: object) -> str:
    return f"{item:.4g}" if isinstance(item, float) else str(item)


class _Processes:
    """The agent processes that a session has started; all are ended with it."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            _end(process)

    def start(self) -> Lines:
        """Start a fresh agent and return the line to it."""
        path = str(agent_file())
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if key in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-I", "-u", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "LC_ALL": "C", "HILNAS_AGENT_FILE": path},
            start_new_session=True,
        )
        self._started.append(process)
        assert process.stdin is not None and process.stdout is not None
        return Lines(process.stdout.fileno(), process.stdin.fileno())


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
