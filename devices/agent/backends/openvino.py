"""OpenVINO on the CPU. Takes ONNX files.

Options: threads, precision ("fp32", "bf16", "fp16"). OpenVINO's own default is bf16 where the CPU has it, which
changes results in the third digit; here it is fp32 unless asked for.
"""

import sys
from typing import Any, Dict, List, Optional

from . import _common

INSTALL = "pip install 'hilnas[openvino]'"

_PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_TYPES = {
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "boolean": "bool",
}

#: Importing OpenVINO imports its converter, which reports its use over the network. We need no converter, and a device
#: that measures talks to nobody: such an import fails, and OpenVINO goes on without.
_PHONES_HOME = ("openvino.tools.ovc", "openvino_telemetry")

_runtime: Optional[Any] = None


def prepare(options: Dict[str, Any]) -> None:
    """Import the runtime; raise ImportError where it is missing, ValueError for options it does not know."""
    global _runtime
    _common.refuse_others("openvino", options, ("precision",))
    _common.need_precision("openvino", options, sorted(_PRECISIONS))
    import numpy.random  # noqa: F401  (imported lazily otherwise, in every worker)

    for name in _PHONES_HOME:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    import openvino

    _runtime = openvino


def fork_safe(options: Dict[str, Any]) -> bool:
    """Return that workers may be forked: threads begin with the first Core, which only a worker makes."""
    return True


def facts() -> Dict[str, Any]:
    """Return the runtime's name and version."""
    assert _runtime is not None
    return {"name": "openvino", "version": str(_runtime.get_version()).partition("-")[0]}


class Model:
    """A compiled model with seeded inputs."""

    def __init__(self, compiled: Any) -> None:
        assert _runtime is not None
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        for i, port in enumerate(compiled.inputs):
            self._request.set_input_tensor(i, _runtime.Tensor(_input(port)))
        self._outputs = [self._request.get_output_tensor(i) for i in range(len(compiled.outputs))]

    def run(self) -> List[Any]:
        """Run the model once and return its outputs; they are overwritten by the next call."""
        self._request.infer()
        return [tensor.data for tensor in self._outputs]

    def facts(self) -> Dict[str, Any]:
        """Return precision and threads as the compiled model says them."""
        return {name: str(self._compiled.get_property(key)) for name, key in _ASKED}


_ASKED = (("inference_precision", "INFERENCE_PRECISION_HINT"), ("inference_threads", "INFERENCE_NUM_THREADS"))


def load(path: str, options: Dict[str, Any]) -> Model:
    """Return the compiled model of an ONNX file; raise whatever the runtime raises for one it rejects.

    Raise RuntimeError where this CPU has not got the precision.
    """
    assert _runtime is not None
    core = _runtime.Core()
    precision = options.get("precision", "fp32")
    has = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision.upper() not in has:
        raise RuntimeError("openvino has no %s on this CPU, only %s" % (precision, ", ".join(has)))
    settings = {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": int(options.get("threads", 1)),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # where a worker may run is the agent's business
    }
    return Model(core.compile_model(core.read_model(path), "CPU", settings))


def _input(port: Any) -> Any:
    name, shape = port.any_name, port.partial_shape
    if shape.is_dynamic:
        raise ValueError("input %r has the dynamic shape %s; fix it before measuring" % (name, shape))
    kind = port.element_type.get_type_name()
    return _common.seeded(name, [int(size) for size in shape.to_shape()], _TYPES.get(kind, kind))
