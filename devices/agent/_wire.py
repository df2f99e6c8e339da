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


class Lines:
    """One direction in, one out, over file descriptors."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self._buffer = b""

    def send(self, message: Dict[str, Any]) -> None:
        """Write one message; raise Closed when nobody reads any more."""
        data = json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.write_fd, view) :]
            except (BrokenPipeError, ConnectionResetError):
                raise Closed("the other side has gone") from None

    def receive(self, timeout_s: Optional[float] = None) -> Optional[Dict[str, Any]]:
        """Return the next message, None when the time is over; raise Closed at the end, WireError for rubbish."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_LINE_BYTES:
                raise WireError("a line of more than %d bytes" % MAX_LINE_BYTES)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self.read_fd], [], [], left)[0]:
                return None
            chunk = os.read(self.read_fd, 65536)
            if not chunk:
                raise Closed("the other side has gone") from None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line.decode("utf-8"))
        except ValueError as error:
            raise WireError("not a JSON line: %s" % error) from error
        if not isinstance(message, dict):
            raise WireError("not a JSON object")
        return message
