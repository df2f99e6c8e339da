"""ONNX models for ONNX Runtime, written directly from the graph; a user's own model is taken as it is."""

from __future__ import annotations

from hilnas.records import Artifact, Workload
from profiler._plan import workload_graph
from profiler.builders._base import Builder


class OnnxRuntime(Builder):
    """Writes .onnx files, and beside them the recipes by which a board writes them itself."""

    def build(self, workload: Workload) -> Artifact:
        """Return the artifact of an architecture, a block or a model file."""
        if workload.kind == "model":
            digest = workload.subject.removeprefix("model:")
            data = self.artifacts.read(digest, ".onnx")
            return Artifact(workload, "onnxruntime", digest, len(data), str(self.artifacts.path(digest, ".onnx")))
        from search_spaces._recipe import to_onnx_and_recipe

        data, recipe = to_onnx_and_recipe(workload_graph(workload))
        digest, path = self.artifacts.put(data, ".onnx")
        _, recipe_path = self.artifacts.put(recipe, ".recipe")
        return Artifact(workload, "onnxruntime", digest, len(data), str(path), str(recipe_path))
