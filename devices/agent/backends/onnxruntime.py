"""ONNX Runtime on the CPU.

Options: threads (intra-operator threads, default 1), optimization ("all", "extended", "basic", "none"),
spinning (bool, default true).
"""

from typing import Any, Dict, List, Optional

_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "none": "ORT_DISABLE_ALL",
}
_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
_INTEGER_TYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}

_runtime: Optional[Any] = None


def prepare(options: Dict[str, Any]) -> None:
    """Import the runtime into the template; raise ImportError where it is missing."""
    global _runtime
    import numpy.random  # noqa: F401  (imported lazily otherwise, in every worker)
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    _runtime = onnxruntime


def facts() -> Dict[str, Any]:
    """Return the runtime's name and version."""
    assert _runtime is not None
    return {"name": "onnxruntime", "version": _runtime.__version__}


class Model:
    """A loaded model with a seeded input."""

    def __init__(self, session: Any, names: List[str], feed: Dict[str, Any]) -> None:
        self._session = session
        self._names = names
        self._feed = feed

    def run(self) -> Any:
        """Run the model once and return its outputs."""
        return self._session.run(self._names, self._feed)

    def facts(self) -> Dict[str, Any]:
        """Return where the session really runs."""
        return {"providers": list(self._session.get_providers())}


def load(path: str, options: Dict[str, Any]) -> Model:
    """Return the model of an ONNX file; raise whatever the runtime raises for one it rejects."""
    assert _runtime is not None
    settings = _runtime.SessionOptions()
    settings.intra_op_num_threads = int(options.get("threads", 1))
    settings.inter_op_num_threads = 1
    settings.execution_mode = _runtime.ExecutionMode.ORT_SEQUENTIAL
    level = _LEVELS[options.get("optimization", "all")]
    settings.graph_optimization_level = getattr(_runtime.GraphOptimizationLevel, level)
    if not options.get("spinning", True):
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = _runtime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    feed = {item.name: _input(item) for item in session.get_inputs()}
    return Model(session, [item.name for item in session.get_outputs()], feed)


def _input(item: Any) -> Any:
    """Return a seeded input: standard normal for floats, small non-negative numbers for integers."""
    import numpy

    if any(not isinstance(size, int) or size <= 0 for size in item.shape):
        raise ValueError("input %r has the dynamic shape %s; fix it before measuring" % (item.name, item.shape))
    random = numpy.random.RandomState(0)
    if item.type in _TYPES:
        return random.standard_normal(item.shape).astype(_TYPES[item.type])
    if item.type in _INTEGER_TYPES:
        return random.randint(0, 2, item.shape).astype(_INTEGER_TYPES[item.type])
    raise ValueError("input %r has the unsupported type %s" % (item.name, item.type))
