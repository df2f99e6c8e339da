"""ncnn nets, converted from ONNX by pnnx here, so that a board needs nothing but ncnn."""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from devices._errors import RuntimeMissing
from hilnas.errors import HilnasError
from hilnas.records import Artifact, Workload
from profiler._artifacts import ArtifactStore
from profiler.builders._base import Builder
from profiler.builders.onnxruntime import OnnxRuntime

_CONVERT_S = 300.0


class Ncnn(Builder):
    """Writes .ncnn files: zips of `model.param`, `model.bin` and the shapes of the inputs."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        """Raise RuntimeMissing where the converter is not installed."""
        super().__init__(artifacts)
        if find_spec("pnnx") is None:
            raise RuntimeMissing(
                "ncnn nets cannot be built here: pnnx is not installed",
                "It converts ONNX models for ncnn.",
                "pip install 'hilnas[ncnn]'",
            )

    def build(self, workload: Workload) -> Artifact:
        """Return the artifact of an architecture, a block or a model file; raise HilnasError where pnnx fails."""
        source = OnnxRuntime(self.artifacts).build(workload)
        assert source.path is not None
        data = _converted(workload, Path(source.path))
        digest, path = self.artifacts.put(data, ".ncnn")
        return Artifact(workload, "ncnn", digest, len(data), str(path))


def _converted(workload: Workload, source: Path) -> bytes:
    import onnx

    shapes = _shapes(workload, onnx.load(str(source)))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        model.write_bytes(source.read_bytes())
        said = ",".join("[" + ",".join(map(str, shape)) + "]" for shape in shapes)
        _run([_program(), str(model), f"inputshape={said}", "fp16=0"], folder, workload)
        param, weights = model.with_name("model.ncnn.param"), model.with_name("model.ncnn.bin")
        if not (param.exists() and weights.exists()):
            raise HilnasError(f"{workload.name} cannot be converted for ncnn", "pnnx wrote no net.")
        inputs = {f"in{i}": shape[1:] for i, shape in enumerate(shapes)}
        return _packed(
            {
                "inputs.json": json.dumps(inputs, sort_keys=True).encode(),
                "model.param": param.read_bytes(),
                "model.bin": weights.read_bytes(),
            }
        )


def _shapes(workload: Workload, model: Any) -> list[list[int]]:
    """Return the shapes of the inputs; raise HilnasError for a batch, which ncnn does not know."""
    constants = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in constants]
    shapes = [[dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in inputs]
    if any(not shape or shape[0] != 1 for shape in shapes):
        raise HilnasError(f"{workload.name}: ncnn takes one sample at a time, not inputs of {shapes}")
    return shapes


def _run(argv: list[str], folder: str, workload: Workload) -> None:
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, timeout=_CONVERT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise HilnasError(f"{workload.name}: pnnx did not end within {_CONVERT_S:g} s") from error
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
        raise HilnasError(f"{workload.name} cannot be converted for ncnn: {' | '.join(lines[-2:])[:400]}")


def _program() -> str:
    import pnnx

    return str(pnnx.EXEC_PATH)


def _packed(files: dict[str, bytes]) -> bytes:
    """Return files as one zip, byte for byte the same every time; weights hardly shrink, so nothing is compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)
    return buffer.getvalue()
