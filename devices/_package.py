"""The agent as one deterministic file whose content hash is its identity."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

_MAIN = "from hilnas_agent.__main__ import main\n\nmain()\n"


@cache
def packed_agent() -> tuple[str, bytes]:
    """Return the agent's SHA-256 (hex) and its zip archive, byte for byte the same on every machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", _MAIN.encode())
        for name, source in sorted(_sources(files("devices.agent"), "hilnas_agent")):
            _add(archive, name, source)
    data = buffer.getvalue()
    return hashlib.sha256(data).hexdigest(), data


def agent_file() -> Path:
    """Return the packed agent as a file in the user's cache (or the temporary folder), written once per version."""
    digest, data = packed_agent()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for folder in (home / "hilnas" / "agent", Path(tempfile.gettempdir()) / f"hilnas-agent-{os.getuid()}"):
        path = folder / f"{digest}.pyz"
        try:
            if path.exists() and path.read_bytes() == data:
                return path
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = folder / f"{digest}.{os.getpid()}.part"
            part.write_bytes(data)
            part.replace(path)
            return path
        except OSError:
            continue  # a home that cannot be written: try the next folder
    raise OSError("no folder for the agent can be written")


def _sources(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for item in folder.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            found += _sources(item, f"{prefix}/{item.name}")
        elif item.name.endswith(".py"):
            found.append((f"{prefix}/{item.name}", item.read_bytes()))
    return found


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)
