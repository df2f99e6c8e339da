"""What the agent's backends say about themselves; nothing of a runtime is imported for it."""

from __future__ import annotations

from devices.agent import _plugins
from hilnas.errors import DeviceError


def how_to_install(backend: str) -> str:
    """Return the command that brings a backend's runtime to this machine."""
    known = backend in _plugins.names("backends")
    found = getattr(_plugins.load("backends", backend), "INSTALL", None) if known else None
    return str(found or f"pip install {backend}")


def need_for_boards(device: str, backend: str) -> None:
    """Raise DeviceError for a backend whose models only run where hilnas runs."""
    if backend in _plugins.names("backends") and getattr(_plugins.load("backends", backend), "LOCAL_ONLY", False):
        raise DeviceError(
            f"{device}: the backend {backend!r} is for local devices only",
            "Its models (.pt2) need the very torch that wrote them, which no board has.",
            'Set another in the config, for instance: backend = "onnxruntime"',
        )
