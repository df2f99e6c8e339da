"""ONNX Runtime.

Options: threads (intra-operator threads, default 1), optimization ("all", "extended", "basic", "none"), spinning
(bool, default true), provider ("cpu", "xnnpack", "cuda", "tensorrt"; default "cpu"), strict (bool: no node may fall
back to the CPU), profile_nodes (bool: count the nodes by the provider that ran them, after the measurement; always
done where the provider is not the CPU), cache_folder (where TensorRT keeps engines and timings), device (the GPU that
is used, where there are several), copies (bool: a call brings its input to the GPU and its output back), precision
("fp32"; "tf32" on a GPU, "fp16" with TensorRT).
"""

import json
import os
import tempfile
from typing import Any, Dict, List, Optional, Tuple

from .. import _layers
from . import _common, _gpu

_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "none": "ORT_DISABLE_ALL",
}
_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}
_PRECISIONS = {
    "cpu": ["fp32", "int8"],  # int8: the model's own, nothing is done here
    "xnnpack": ["fp32", "int8"],
    "cuda": ["fp32", "tf32", "int8"],
    "tensorrt": ["fp32", "tf32", "fp16"],
}
_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_MAX_PROFILE_BYTES = 64 * 1024 * 1024

_runtime: Optional[Any] = None


def prepare(options: Dict[str, Any]) -> None:
    """Import the runtime into the template; raise ImportError where it is missing."""
    global _runtime
    _gpu.select(options)
    _common.need_precision("onnxruntime", options, _PRECISIONS[options.get("provider", "cpu")])
    import numpy.random  # noqa: F401  (imported lazily otherwise, in every worker)
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    _runtime = onnxruntime
    _need_provider(options)


def fork_safe(options: Dict[str, Any]) -> bool:
    """Return whether workers may be forked from a process that has imported the runtime: not with CUDA."""
    return options.get("provider", "cpu") in ("cpu", "xnnpack")


def facts() -> Dict[str, Any]:
    """Return the runtime's name and version."""
    assert _runtime is not None
    return {"name": "onnxruntime", "version": _runtime.__version__}


class Model:
    """A loaded model with a seeded input."""

    def __init__(self, session: Any, path: str, options: Dict[str, Any]) -> None:
        self._session = session
        self._path = path
        self._options = options
        self._names = [item.name for item in session.get_outputs()]
        self._feed = {item.name: _input(item) for item in session.get_inputs()}
        self._bound = None if options.get("copies", True) else self._bind()

    def run(self) -> Any:
        """Run the model once and return its outputs; they stay on the GPU where copies are left out."""
        if self._bound is None:
            return self._session.run(self._names, self._feed)
        self._session.run_with_iobinding(self._bound)
        self._bound.synchronize_outputs()
        return self._bound.get_outputs()

    def _bind(self) -> Any:
        """Put the input on the GPU once and for all; None on the CPU, where nothing is copied."""
        assert _runtime is not None
        if self._options.get("provider", "cpu") not in ("cuda", "tensorrt"):
            return None
        bound = self._session.io_binding()
        for name, array in self._feed.items():
            bound.bind_ortvalue_input(name, _runtime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
        for name in self._names:
            bound.bind_output(name, "cuda", 0)
        return bound

    def facts(self) -> Dict[str, Any]:
        """Return where the session really runs, and by which provider how many nodes, where that is to be looked at."""
        found: Dict[str, Any] = {"providers": list(self._session.get_providers())}
        if self._options.get("provider") in ("cuda", "tensorrt"):
            found["copies_included"] = self._bound is None
        if self._options.get("profile_nodes") or self._options.get("provider", "cpu") != "cpu":
            found["nodes_by_provider"] = self._nodes_by_provider()
        return found

    def profile_layers(self, calls: int) -> Dict[str, Any]:
        """Return the seconds of some calls and of each node in them, by the runtime's own profile."""
        profile, calls_s = self._profiled(_layers.WARM_CALLS + calls)
        layers = _layers.of_onnxruntime(profile, _layers.WARM_CALLS)
        return {"calls_s": calls_s[_layers.WARM_CALLS :], "layers": layers}

    def _nodes_by_provider(self) -> Dict[str, int]:
        return count_nodes(self._profiled(1)[0])

    def _profiled(self, calls: int) -> Tuple[str, List[float]]:
        """Run in a session of its own that writes down what ran where, for how long; return that and the times."""
        assert _runtime is not None
        with tempfile.TemporaryDirectory() as folder:
            settings = _settings(self._options)
            settings.enable_profiling = True
            settings.profile_file_prefix = os.path.join(folder, "profile")
            session = _runtime.InferenceSession(self._path, settings, providers=_chosen(self._options))
            calls_s = _layers.timed(lambda: session.run(self._names, self._feed), calls)
            with open(session.end_profiling()) as file:
                return file.read(_MAX_PROFILE_BYTES), calls_s


def load(path: str, options: Dict[str, Any]) -> Model:
    """Return the model of an ONNX file; raise whatever the runtime raises for one it rejects."""
    assert _runtime is not None
    session = _runtime.InferenceSession(path, _settings(options), providers=_chosen(options))
    wanted = _PROVIDERS[options.get("provider", "cpu")]
    if wanted not in session.get_providers():
        # A wheel may list a provider and silently fall back where its libraries are missing.
        raise RuntimeError("%s could not be set up; the session has %s" % (wanted, ", ".join(session.get_providers())))
    return Model(session, path, options)


def count_nodes(profile: str) -> Dict[str, int]:
    """Return how many different nodes each provider ran, from a profile in JSON; raise ValueError for none."""
    nodes = set()
    for event in json.loads(profile):
        arguments = event.get("args") or {}
        if event.get("cat") == "Node" and arguments.get("provider"):
            nodes.add((event["name"], arguments["provider"]))
    if not nodes:
        raise ValueError("the profile names no provider of any node")
    found: Dict[str, int] = {}
    for _, provider in sorted(nodes):
        found[provider] = found.get(provider, 0) + 1
    return found


def _need_provider(options: Dict[str, Any]) -> None:
    """Raise ImportError when the wheel has not got the provider that is asked for."""
    assert _runtime is not None
    wanted, there = _PROVIDERS[options.get("provider", "cpu")], _runtime.get_available_providers()
    if wanted not in there:
        raise ImportError("this onnxruntime has no %s, only %s" % (wanted, ", ".join(there)))


def _settings(options: Dict[str, Any]) -> Any:
    assert _runtime is not None
    settings = _runtime.SessionOptions()
    xnnpack = options.get("provider") == "xnnpack"
    # XNNPACK has threads of its own; those of the runtime would only get in their way.
    settings.intra_op_num_threads = 1 if xnnpack else int(options.get("threads", 1))
    settings.inter_op_num_threads = 1
    settings.execution_mode = _runtime.ExecutionMode.ORT_SEQUENTIAL
    level = _LEVELS[options.get("optimization", "all")]
    settings.graph_optimization_level = getattr(_runtime.GraphOptimizationLevel, level)
    if xnnpack or not options.get("spinning", True):
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if options.get("strict"):
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return settings


def _chosen(options: Dict[str, Any]) -> List[Tuple[str, Dict[str, str]]]:
    """Return the providers of a session, the CPU last where nodes may fall back to it."""
    name = options.get("provider", "cpu")
    settings: Dict[str, str] = {}
    if name == "xnnpack":
        settings = {"intra_op_num_threads": str(int(options.get("threads", 1)))}
    if name == "cuda":
        settings = {"cudnn_conv_algo_search": "EXHAUSTIVE"}  # its default: the search is part of the first run
    if name == "tensorrt" and options.get("cache_folder"):
        folder = str(options["cache_folder"])
        settings = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder, "trt_timing_cache_enable": "1"}
    if name == "tensorrt" and options.get("precision") == "fp16":
        settings["trt_fp16_enable"] = "1"
    chosen = [(_PROVIDERS[name], settings)]
    return chosen if name == "cpu" or options.get("strict") else chosen + [(_PROVIDERS["cpu"], {})]


def _input(item: Any) -> Any:
    """Return a seeded input."""
    kind = str(item.type).replace("tensor(", "").rstrip(")")
    return _common.seeded(item.name, item.shape, _TYPES.get(item.type, kind))
