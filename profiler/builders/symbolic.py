"""For devices that run nothing (fake, replay): the workload's own key stands for its content."""

from __future__ import annotations

from hilnas.records import Artifact, Workload
from profiler.builders._base import Builder


class Symbolic(Builder):
    """Builds nothing."""

    def build(self, workload: Workload) -> Artifact:
        """Return an artifact without bytes."""
        return Artifact(workload, "symbolic", workload.key, 0)
