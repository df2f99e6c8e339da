"""The contract of a device: probe it, open a session, measure artifacts one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from devices._config import DeviceConfig
from hilnas.deadline import Deadline
from hilnas.records import Artifact, Environment, MeasurementProtocol, Run


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a device during a session: `connection`, `agent` or `restart`, and what exactly."""

    kind: str
    text: str


class Session(ABC):
    """A leased device with a running agent, obtained from `Device.session` and used by one thread.

    `measure` never raises for a candidate: a model that is rejected, a crash, a time-out or a lost agent comes back
    as a Run with a status. It raises DeviceError only when the device itself cannot be used any longer.
    """

    environment: Environment

    @abstractmethod
    def measure(self, artifact: Artifact, protocol: MeasurementProtocol) -> Run:
        """Return one run: one invocation of the artifact in a fresh worker."""

    def measure_many(self, artifacts: Iterable[Artifact], protocol: MeasurementProtocol) -> Generator[Run, None, None]:
        """Give one run an artifact, in order; a session may draw the next ones while it measures."""
        for artifact in artifacts:
            yield self.measure(artifact, protocol)

    def drain_events(self) -> list[Event]:
        """Return what has happened to the device since the last call."""
        return []

    @abstractmethod
    def state(self) -> Mapping[str, Any]:
        """Return what the sensors say now, one entry a sensor."""


class Device(ABC):
    """One place where code runs, described by its config; constructing it touches nothing.

    Calls in order: any number of `probe`, then `session` as a context manager. A device has at most one session at
    a time, on all machines and by all users: `session` raises DeviceBusy otherwise.
    """

    #: The builder in profiler/builders that makes artifacts for this device; a config may override it.
    default_backend: ClassVar[str]
    #: How often and how long, where nobody asks for something else.
    protocol: MeasurementProtocol = MeasurementProtocol()
    #: Whether the same artifact always gives the same value, so that once is enough.
    deterministic: ClassVar[bool] = False

    def __init__(self, config: DeviceConfig) -> None:
        self.config = config
        wait_s = config.measuring.pace_wait_s
        self.protocol = replace(self.protocol, pace_wait_s=self.usual_pace_wait_s() if wait_s is None else wait_s)

    def usual_pace_wait_s(self) -> float:
        """Return how long an invocation waits for the processor's full pace where the config does not say; 0: never."""
        return 0.0

    @property
    def backend(self) -> str:
        """Return the name of the builder whose artifacts this device runs."""
        return self.config.backend or self.default_backend

    @abstractmethod
    def probe(self) -> Environment:
        """Return the fingerprint of the device; raise DeviceError when it cannot be reached or lacks its runtime."""

    @abstractmethod
    def session(self, deadline: Deadline) -> AbstractContextManager[Session]:
        """Return a context manager that leases the device, starts the agent and ends both."""

    @abstractmethod
    def checks(self) -> list[Check]:
        """Return what `hilnas devices doctor` prints; never raise for a device that is not ready."""


class Check:
    """One line of the doctor: what was looked at, whether it is well, and what would mend it."""

    def __init__(self, name: str, ok: bool, found: str, remedy: str = "") -> None:
        self.name = name
        self.ok = ok
        self.found = found
        self.remedy = remedy

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return {"name": self.name, "ok": self.ok, "found": self.found, "remedy": self.remedy}
