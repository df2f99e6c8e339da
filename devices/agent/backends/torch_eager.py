"""torch without a compiler: one kernel after the other, as in training code. Takes .pt2 files; options: see _torch."""

from typing import Any, Dict

from . import _torch

#: A .pt2 file needs the torch that wrote it: it runs where hilnas runs.
LOCAL_ONLY = True
INSTALL = "pip install torch"

fork_safe = _torch.fork_safe


def prepare(options: Dict[str, Any]) -> None:
    """Import torch; raise ImportError where it or its CUDA is missing."""
    _torch.prepare(options, "torch_eager")


def facts() -> Dict[str, Any]:
    """Return name and versions."""
    return _torch.facts("torch_eager")


def load(path: str, options: Dict[str, Any]) -> _torch.Model:
    """Return the model of a .pt2 file."""
    return _torch.Model(path, options)
