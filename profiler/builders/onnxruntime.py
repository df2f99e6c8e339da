"""ONNX models for ONNX Runtime, written directly from the graph; a model of the user is stored already."""

from __future__ import annotations

from hilnas.records import Artifact, Workload
from profiler._models import model_file
from profiler._plan import workload_onnx
from profiler.builders._base import Builder


class OnnxRuntime(Builder):
    """Writes .onnx files, and beside them the recipes by which a board writes them itself."""

    def build(self, workload: Workload) -> Artifact:
        """Return the artifact of an architecture, a block or a model."""
        if workload.kind == "model":
            digest, data = model_file(workload, self.artifacts)
            return Artifact(workload, "onnxruntime", digest, len(data), str(self.artifacts.path(digest, ".onnx")))
        data, recipe = workload_onnx(workload)
        digest, path = self.artifacts.put(data, ".onnx")
        recipe_path = None if recipe is None else str(self.artifacts.put(recipe, ".recipe")[1])
        return Artifact(workload, "onnxruntime", digest, len(data), str(path), recipe_path)
