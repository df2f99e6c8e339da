"""JSON lines between two processes, with a limit on their size."""

import json
import os
import select
import time
from typing import Any, Dict, Optional

MAX_LINE_BYTES = 4 * 1024 * 1024


class WireError(Exception):
    """What came is not a JSON object on one line of bearable size."""


class Closed(WireError):
    """The other side has gone."""


def encode(message: Dict[str, Any]) -> bytes:
    """Return a message as one line."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> Dict[str, Any]:
    """Return the message of one line; raise WireError for whatever is no JSON object, is too deep or has NaN in it."""
    try:
        message = json.loads(line.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise WireError("not a JSON line: %s" % str(error)[:200]) from None
    if not isinstance(message, dict):
        raise WireError("not a JSON object")
    return message


def _refuse(name: str) -> Any:
    raise ValueError("%s is no number" % name)


class Lines:
    """Messages in and out; a subclass says how bytes are read and written."""

    def __init__(self) -> None:
        self._buffer = b""

    def read(self, timeout_s: Optional[float]) -> Optional[bytes]:
        """Return some bytes, nothing at the end, None when the time is over."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Write all bytes; raise Closed when nobody reads any more."""
        raise NotImplementedError

    def send(self, message: Dict[str, Any]) -> None:
        """Write one message; raise Closed when nobody reads any more."""
        self.write(encode(message))

    def receive(self, timeout_s: Optional[float] = None) -> Optional[Dict[str, Any]]:
        """Return the next message, None when the time is over; raise Closed at the end, WireError for rubbish."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if not self.pump(None if deadline is None else max(0.0, deadline - time.monotonic())):
                return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return decode(line)

    def pump(self, timeout_s: Optional[float] = 0.0) -> bool:
        """Take in what has come, for a later `receive`; return whether anything has; raise as `receive` does."""
        if len(self._buffer) > MAX_LINE_BYTES:
            raise WireError("a line of more than %d bytes" % MAX_LINE_BYTES)
        chunk = self.read(timeout_s)
        if chunk is None:
            return False
        if not chunk:
            raise Closed("the other side has gone")
        self._buffer += chunk
        return True


class PipeLines(Lines):
    """Lines over two file descriptors."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        super().__init__()
        self.read_fd = read_fd
        self.write_fd = write_fd

    def read(self, timeout_s: Optional[float]) -> Optional[bytes]:
        """Return what the pipe holds."""
        if not select.select([self.read_fd], [], [], timeout_s)[0]:
            return None
        return os.read(self.read_fd, 65536)

    def write(self, data: bytes) -> None:
        """Write to the pipe."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.write_fd, view) :]
            except (BrokenPipeError, ConnectionResetError):
                raise Closed("the other side has gone") from None
