"""ONNX Runtime with int8 models: the same runtime and options as `onnxruntime`; the models are quantised elsewhere."""

from typing import Any, Dict

from . import onnxruntime
from .onnxruntime import Model, fork_safe, load, prepare

__all__ = ["INSTALL", "Model", "facts", "fork_safe", "load", "prepare"]

INSTALL = "pip install onnxruntime"


def facts() -> Dict[str, Any]:
    """Return the runtime's name and version, and what kind of models it is given."""
    return dict(onnxruntime.facts(), models="int8")
