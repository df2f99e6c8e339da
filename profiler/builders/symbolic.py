"""For devices that run nothing (fake, replay): the workload's own key stands for its content."""

from __future__ import annotations

from hilnas.records import Artifact, Workload
from profiler._models import need_built
from profiler._plan import need_network
from profiler.builders._base import Builder


class Symbolic(Builder):
    """Builds nothing."""

    def build(self, workload: Workload) -> Artifact:
        """Return an artifact without bytes; raise HilnasError for a model or a network that cannot be built."""
        need_built(workload, self.artifacts)
        need_network(workload)
        return Artifact(workload, "symbolic", workload.key, 0)
