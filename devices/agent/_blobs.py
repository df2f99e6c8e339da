"""Files of models on the board, named by their content; the least recently used go when the disk is full."""

import hashlib
import os
import re
import time
from typing import Any, Dict, List, Tuple

#: What stays free on the board's disk, and how much all models together may take.
FLOOR_BYTES = 64 * 1024 * 1024
LIMIT_BYTES = 1024 * 1024 * 1024
_OLD_PART_S = 3600.0
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobError(Exception):
    """A blob cannot be kept; `stage` is `disk` where there is no room, else `stage`."""

    def __init__(self, stage: str, cause: str) -> None:
        super().__init__(cause)
        self.stage = stage


class Blobs:
    """The folder of models of one agent."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def path(self, sha256: Any) -> str:
        """Return where the model of a hash lies or would lie; raise BlobError for what is no hash."""
        if not isinstance(sha256, str) or not _DIGEST.fullmatch(sha256):
            raise BlobError("stage", "not a SHA-256: %r" % str(sha256)[:80])
        return os.path.join(self.folder, sha256[:2], sha256 + ".onnx")

    def find(self, sha256: Any) -> str:
        """Return the path of a model that is here; raise BlobError where it is not."""
        path = self.path(sha256)
        try:
            os.utime(path)
        except OSError:
            raise BlobError("missing", "the model %s is not on the board" % sha256[:12]) from None
        return path

    def keep(self, sha256: Any, data: bytes) -> str:
        """Store bytes that are known to have this hash and return their path; raise BlobError without room."""
        path = self.path(sha256)
        self.make_room(len(data))
        part = "%s.%d.part" % (path, os.getpid())
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(part, "wb") as file:
                file.write(data)
            os.replace(part, path)
        except OSError as error:
            _remove(part)
            raise BlobError("disk", "%s cannot be written: %s" % (path, error.strerror)) from None
        return path

    def adopt(self, name: Any, sha256: Any) -> str:
        """Take over an uploaded part after checking its hash; raise BlobError where it is not what it should be."""
        path = self.path(sha256)
        if not isinstance(name, str) or not re.fullmatch(r"[0-9a-f]{64}\.[0-9a-f]{1,32}\.part", name):
            raise BlobError("stage", "not the name of a part: %r" % str(name)[:80])
        part = os.path.join(self.folder, name)
        try:
            found = _digest(part)
            if found != sha256:
                _remove(part)
                raise BlobError("stage", "what came has the hash %s, not %s" % (found[:12], sha256[:12]))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.replace(part, path)
        except OSError as error:
            raise BlobError("stage", "%s: %s" % (name, error.strerror)) from None
        return path

    def make_room(self, size_bytes: int) -> None:
        """Remove the least recently used models until there is room; raise BlobError when that is not enough."""
        os.makedirs(self.folder, exist_ok=True)
        files = sorted(self._files())
        held = sum(size for _, size, _ in files)
        while files and (held + size_bytes > LIMIT_BYTES or free_bytes(self.folder) < size_bytes + FLOOR_BYTES):
            _, size, path = files.pop(0)
            _remove(path)
            held -= size
        free = free_bytes(self.folder)
        if free < size_bytes + FLOOR_BYTES:
            text = "disk full: %d MiB are free, %d MiB are needed"
            raise BlobError("disk", text % (free >> 20, (size_bytes + FLOOR_BYTES) >> 20))

    def clean(self) -> None:
        """Remove parts that a lost connection left behind."""
        for age_s, _, path in self._files():
            if path.endswith(".part") and time.time() - age_s > _OLD_PART_S:
                _remove(path)

    def _files(self) -> List[Tuple[float, int, str]]:
        found = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    status = os.stat(path)
                except OSError:
                    continue  # gone meanwhile
                found.append((status.st_mtime, status.st_size, path))
        return found


def free_bytes(folder: str) -> int:
    """Return how much an unprivileged user may still write there."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def room(blobs: Blobs, size_bytes: Any) -> Dict[str, Any]:
    """Answer whether a model of a size can be sent."""
    if not isinstance(size_bytes, int) or size_bytes < 0:
        raise BlobError("stage", "no size: %r" % (size_bytes,))
    blobs.make_room(size_bytes)
    return {"ok": True, "path": blobs.folder}


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        pass  # gone already
