"""ONNX models for ONNX Runtime, written directly from the graph; a user's own model is taken as it is."""

from __future__ import annotations

from hilnas.records import Artifact, Workload
from profiler._plan import workload_graph
from profiler.builders._base import Builder


class OnnxRuntime(Builder):
    """Writes .onnx files."""

    def build(self, workload: Workload) -> Artifact:
        """Return the artifact of an architecture, a block or a model file."""
        if workload.kind == "model":
            digest = workload.subject.removeprefix("model:")
            data = self.artifacts.read(digest, ".onnx")
            return Artifact(workload, "onnxruntime", digest, len(data), str(self.artifacts.path(digest, ".onnx")))
        from search_spaces._onnx import to_onnx

        data = to_onnx(workload_graph(workload))
        digest, path = self.artifacts.put(data, ".onnx")
        return Artifact(workload, "onnxruntime", digest, len(data), str(path))
