"""Int8 models for ONNX Runtime: what `onnxruntime` builds, quantised on this machine and sent to boards whole."""

from __future__ import annotations

from hilnas.errors import UsageError
from hilnas.records import Artifact, Workload
from profiler._models import model_file
from profiler._plan import workload_graph, workload_onnx
from profiler.builders._base import Builder
from profiler.builders._int8 import to_int8


class OnnxRuntimeInt8(Builder):
    """Writes .onnx files with int8 weights and activations (QDQ); a network in fixed point is quantised anew."""

    def build(self, workload: Workload) -> Artifact:
        """Return the artifact of an architecture, a block or a model file; raise UsageError where int8 is no way."""
        digest, path = self.artifacts.put(to_int8(self._in_float(workload)), ".onnx")
        return Artifact(workload, "onnxruntime_int8", digest, path.stat().st_size, str(path))

    def _in_float(self, workload: Workload) -> bytes:
        """Return the model in floating point: no runtime computes in the formats of a fixed-point network."""
        from search_spaces._in_float import in_float, is_fixed_point
        from search_spaces._onnx import to_onnx

        if workload.kind == "model":
            return model_file(workload, self.artifacts)[1]
        graph = workload_graph(workload)
        if not is_fixed_point(graph):
            return workload_onnx(workload)[0]
        try:
            return to_onnx(in_float(graph))
        except ValueError as error:
            raise UsageError(f"{workload.name} has no int8 form: {error}") from error
