"""ONNX models for OpenVINO, which reads and compiles them on the device; the same bytes as for ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace

from hilnas.records import Artifact, Workload
from profiler.builders._base import Builder
from profiler.builders.onnxruntime import OnnxRuntime


class OpenVino(Builder):
    """Writes .onnx files and their recipes."""

    def build(self, workload: Workload) -> Artifact:
        """Return the artifact of an architecture, a block or a model file."""
        return replace(OnnxRuntime(self.artifacts).build(workload), backend="openvino")
