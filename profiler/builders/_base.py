"""The contract of a builder."""

from __future__ import annotations

from abc import ABC, abstractmethod

from hilnas.records import Artifact, Workload
from profiler._artifacts import ArtifactStore


class Builder(ABC):
    """Turns workloads into artifacts of one backend, content-addressed in the workspace."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self.artifacts = artifacts

    @abstractmethod
    def build(self, workload: Workload) -> Artifact:
        """Return the artifact, the same hash for the same workload; raise HilnasError where it cannot be built."""
