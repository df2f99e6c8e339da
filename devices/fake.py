"""A scripted device: known latencies, noise, drift and faults, without any hardware.

kind = "fake"

[fake]
latency_s = 0.001
noise = 0.02
crash = 0.05
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from devices._base import Check, Device, Session
from devices._config import FakeOptions
from devices._lease import lease
from hilnas.deadline import Deadline
from hilnas.records import Artifact, Environment, MeasurementProtocol, Reading, Run, Workload


class Fake(Device):
    """Answers like a device; its latencies follow the script of its config."""

    default_backend = "symbolic"

    def probe(self) -> Environment:
        """Return the fingerprint: the script itself."""
        return Environment({"kind": "fake", "script": self.config.fake.model_dump(mode="json")})

    @contextmanager
    def session(self, deadline: Deadline) -> Iterator[Session]:
        """Lease the fake by its name and hand out a session."""
        with lease(f"fake-{self.config.name}"):
            yield FakeSession(self.config.fake, self.probe())

    def checks(self) -> list[Check]:
        """Return that a fake is always ready."""
        return [Check("script", True, "a fake device is always ready")]


class FakeSession(Session):
    """Draws runs from the script; the n-th invocation of a workload is the same in every session."""

    def __init__(self, script: FakeOptions, environment: Environment) -> None:
        self.environment = environment
        self._script = script
        self._invocations = 0
        self._rng = np.random.default_rng(script.seed)

    def state(self) -> Mapping[str, Any]:
        """Return that there is nothing to sense."""
        return {"monotonic_s": time.monotonic()}

    def measure(self, artifact: Artifact, protocol: MeasurementProtocol) -> Run:
        """Return a scripted run."""
        if protocol.purpose != "latency":
            return _beside(self._script, artifact.workload, protocol)
        script, workload, rng = self._script, artifact.workload, self._rng
        if script.sleep_s:
            time.sleep(script.sleep_s)
        self._invocations += 1
        if any(text in workload.subject for text in script.rejects):
            return Run(workload, "failed", cause="load: the script rejects this model")
        if rng.random() < script.crash:
            return Run(workload, "failed", cause="killed: scripted crash", transient=True)
        drift = (1 + script.drift_per_invocation) ** self._invocations
        center_s = true_latency_s(script, workload) * drift * np.exp(rng.normal(0, script.between))
        samples = center_s * np.exp(np.abs(rng.normal(0, script.noise, protocol.min_calls)))
        doubt = "contended: scripted" if rng.random() < script.contended else None
        return Run(
            workload,
            "rejected" if doubt else "ok",
            (Reading("latency_s", tuple(map(float, samples))),),
            doubt,
            transient=bool(doubt),
            stop_reason="ci",
            busy_s=script.sleep_s,
            wall_s=script.sleep_s,
        )


def _beside(script: FakeOptions, workload: Workload, protocol: MeasurementProtocol) -> Run:
    """Return what an invocation for energy or layers gives: the script's power over the true latency, no layers."""
    if protocol.purpose == "layers":
        return Run(workload, "failed", cause="layers: n/a: a scripted device has no layers")
    if not script.power_w:
        return Run(workload, "failed", cause="energy: n/a: the script has no power_w")
    latency_s = true_latency_s(script, workload)
    energy_j = {
        "energy_j": script.power_w * latency_s,
        "net_energy_j": (script.power_w - script.idle_power_w) * latency_s,
        "power_w": script.power_w,
        "idle_power_w": script.idle_power_w,
    }
    return Run(workload, "ok", tuple(Reading(name, (value,)) for name, value in energy_j.items()), stop_reason="energy")


def true_latency_s(script: FakeOptions, workload: Workload) -> float:
    """Return the latency the script gives a workload: its own, or `latency_s` times 0.5 to 1.5 by its name."""
    if workload.subject in script.latencies:
        return script.latencies[workload.subject]
    digest = hashlib.sha256(workload.subject.encode()).digest()
    return script.latency_s * (0.5 + int.from_bytes(digest[:4], "big") / 2**32)
