"""Work in a process of its own, which ends with the process that asked for it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from hilnas.errors import HilnasError


class OwnProcess:
    """Runs a function of a module, in a process that was started anew.

    Its line to this process carries the error that stops it, and ends it when this process is gone, however that ended.
    """

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        context = get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_work, args=(theirs, work, arguments))
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        """Return the number of the process."""
        return self._process.pid

    @property
    def sentinel(self) -> int:
        """Return what `multiprocessing.connection.wait` waits for: the end of the process."""
        return self._process.sentinel

    def end(self) -> int:
        """Wait for the end of the process and return its exit code; raise the HilnasError that stopped it."""
        error = None
        with suppress(EOFError, OSError):
            error = self._line.recv()
        self._process.join()
        self._line.close()
        if isinstance(error, HilnasError):
            raise error
        return self._process.exitcode or 0

    def stop(self) -> None:
        """End the process now."""
        self._process.terminate()
        self._process.join()
        self._line.close()


def _work(line: Connection, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Run the function in this process; what a user can act on goes down the line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked for it decides what an interruption ends
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    try:
        work(*arguments)
    except HilnasError as error:
        line.send(error)


def _end_with(line: Connection) -> None:
    """Let this process end when the one that asked for it is gone: nobody would read the result."""
    with suppress(EOFError, OSError):
        line.recv()
    os._exit(1)
