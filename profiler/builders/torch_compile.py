"""Exported programs for torch.compile, which compiles them where they run; the same bytes as for torch_eager."""

from __future__ import annotations

from hilnas.records import Artifact, Workload
from profiler.builders._base import Builder
from profiler.builders._pt2 import exported


class TorchCompile(Builder):
    """Writes .pt2 files."""

    def build(self, workload: Workload) -> Artifact:
        """Return the artifact of an architecture, a block or a module."""
        return exported(self.artifacts, workload, "torch_compile")
