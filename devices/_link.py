"""The way to an agent: how one is started and how a model gets to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from devices.agent._wire import Closed, Lines
from hilnas.deadline import Deadline
from hilnas.records import Artifact


class ConnectionLost(Closed):
    """The connection itself has gone: nothing is known about the agent at its end."""


class Link(ABC):
    """Starts agents and brings models to them; used by one session."""

    #: Requests that are sent before the answer to an earlier one is there, so that the device need not wait.
    ahead: int = 0
    #: For how long a lost connection is tried again before the device counts as gone.
    patience_s: float = 0.0
    #: Whether the agent reads the controller's files; else models are staged under their content hash.
    shares_files: bool = True
    #: What the agent is told when it begins: who we are, whether to lease, which power states to set.
    claim: Mapping[str, Any] = {}

    @abstractmethod
    def start(self, deadline: Deadline) -> Lines:
        """Return the line to a fresh agent; raise Unreachable when trying again may help, else another DeviceError."""

    def upload(self, artifact: Artifact, folder: str, name: str) -> None:
        """Put a model's bytes into a folder that the agent has named; only while the device is not timing."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """End every agent that was started and wait until it has gone."""
