"""ONNX models for ONNX Runtime, written directly from the graph; a user's own model is taken as it is."""

from __future__ import annotations

from hilnas.records import Artifact, Workload
from profiler._plan import workload_onnx
from profiler.builders._base import Builder


class OnnxRuntime(Builder):
    """Writes .onnx files, and beside them the recipes by which a board writes them itself."""

    def build(self, workload: Workload) -> Artifact:
        """Return the artifact of an architecture, a block or a model file."""
        if workload.kind == "model":
            digest = workload.subject.removeprefix("model:")
            data = self.artifacts.read(digest, ".onnx")
            return Artifact(workload, "onnxruntime", digest, len(data), str(self.artifacts.path(digest, ".onnx")))
        data, recipe = workload_onnx(workload)
        digest, path = self.artifacts.put(data, ".onnx")
        recipe_path = None if recipe is None else str(self.artifacts.put(recipe, ".recipe")[1])
        return Artifact(workload, "onnxruntime", digest, len(data), str(path), recipe_path)
