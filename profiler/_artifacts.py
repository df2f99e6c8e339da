"""Artifacts on disk, named by their content; what can be built again is thrown away first come, first go."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hilnas.errors import HilnasError
from profiler._errors import DiskFull


class ArtifactStore:
    """A folder of files named by their SHA-256."""

    def __init__(self, folder: Path, limit_bytes: int = 512 * 2**20) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    def put(self, data: bytes, suffix: str) -> tuple[str, Path]:
        """Store bytes and return their SHA-256 (hex) and path; raise DiskFull when there is no room."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.path(digest, suffix)
        if path.exists():
            os.utime(path)
            return digest, path
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise DiskFull(
                f"{path} cannot be written: {error.strerror}",
                "Everything measured before is kept.",
                "Free some space, then continue with: hilnas runs resume RUN",
            ) from error
        return digest, path

    def path(self, digest: str, suffix: str) -> Path:
        """Return where the bytes of a hash lie or would lie."""
        return (self._folder / digest[:2] / f"{digest}{suffix}").resolve()

    def read(self, digest: str, suffix: str) -> bytes:
        """Return stored bytes; raise HilnasError when they are gone or not what their name says."""
        try:
            data = self.path(digest, suffix).read_bytes()
        except OSError as error:
            raise HilnasError(f"the artifact {digest[:12]} is gone from the workspace: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise HilnasError(f"the artifact {digest[:12]} is damaged")
        return data

    def evict(self, keep: frozenset[str]) -> None:
        """Remove the oldest files beyond the limit, but none whose hash is in `keep`, and parts left by a crash."""
        files = [path for path in self._folder.glob("*/*") if path.is_file()]
        for path in files:
            if path.suffix == ".part":
                path.unlink(missing_ok=True)
        rest = sorted((path for path in files if path.exists()), key=lambda path: path.stat().st_mtime)
        size = sum(path.stat().st_size for path in rest)
        for path in rest:
            if size <= self._limit_bytes:
                return
            if path.stem not in keep:
                size -= path.stat().st_size
                path.unlink(missing_ok=True)
