"""Recorded numbers as a device: a reference table or an earlier campaign answers instead of hardware.

`hilnas profile table:NAME/COLUMN ...` and `--device table:NAME/COLUMN` use it; no config file is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from devices._base import Check, Device, Session
from devices._config import DeviceConfig
from hilnas.deadline import Deadline
from hilnas.errors import DeviceError
from hilnas.records import Artifact, Environment, MeasurementProtocol, Reading, Run, content_hash


class Replay(Device):
    """Answers from a mapping of subjects (an architecture's text) to seconds, received from its caller."""

    default_backend = "symbolic"
    deterministic = True

    def __init__(self, config: DeviceConfig, latencies_s: Mapping[str, float] | None = None) -> None:
        super().__init__(config)
        self._latencies_s = latencies_s or {}

    def probe(self) -> Environment:
        """Return the fingerprint: the hash of what is replayed."""
        self._need_values()
        digest = content_hash(sorted(self._latencies_s.items()))
        return Environment({"kind": "replay", "source": self.config.name, "values": digest})

    @contextmanager
    def session(self, deadline: Deadline) -> Iterator[Session]:
        """Hand out a session; numbers need no lease."""
        yield ReplaySession(self.probe(), self._latencies_s)

    def checks(self) -> list[Check]:
        """Return how many numbers there are."""
        n = len(self._latencies_s)
        return [Check("values", n > 0, f"{n} recorded values", "" if n else "Import a table: hilnas data import")]

    def _need_values(self) -> None:
        if not self._latencies_s:
            raise DeviceError(f"{self.config.name} has nothing to replay", "", "Look at: hilnas data list")


class ReplaySession(Session):
    """Gives every invocation the one recorded value."""

    def __init__(self, environment: Environment, latencies_s: Mapping[str, float]) -> None:
        self.environment = environment
        self._latencies_s = latencies_s

    def state(self) -> Mapping[str, Any]:
        """Return that there is nothing to sense."""
        return {}

    def measure(self, artifact: Artifact, protocol: MeasurementProtocol) -> Run:
        """Return the recorded value as a run, or a failed run where there is none."""
        if protocol.purpose != "latency":
            return Run(artifact.workload, "failed", cause=f"{protocol.purpose}: n/a: only latencies are replayed")
        value = self._latencies_s.get(artifact.workload.subject)
        if value is None or not math.isfinite(value):
            return Run(artifact.workload, "failed", cause="replay: no recorded value")
        return Run(artifact.workload, "ok", (Reading("latency_s", (value,)),), stop_reason="replay")
