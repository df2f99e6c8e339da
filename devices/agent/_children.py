"""The two processes a supervisor owns: the template that forks workers, and the stager that writes models."""

import json
import os
import select
import subprocess
import time
from typing import Any, Callable, Dict, List, Optional

from . import _process
from ._wire import PipeLines, WireError


class Child:
    """This same program in another role, in a process group of its own."""

    def __init__(self, arguments: List[str]) -> None:
        environment = dict(os.environ)
        # numpy's BLAS would start threads that a fork loses.
        environment.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        self.process = subprocess.Popen(
            _process.own_command() + arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.lines = PipeLines(self.process.stdout.fileno(), self.process.stdin.fileno())

    def alive(self) -> bool:
        """Return whether it runs."""
        return self.process.poll() is None

    def answer(self, timeout_s: float, meanwhile: Callable[[], int], beat: Callable[[], None]) -> Any:
        """Return what the child says, None when it dies or is late.

        `meanwhile` takes in what the controller sends (and raises when it has gone); it returns the descriptor to
        watch. `beat` is called every few seconds, so that the controller knows that we live.
        """
        deadline = time.monotonic() + timeout_s
        watched = meanwhile()
        while time.monotonic() < deadline:
            wait_s = min(_BEAT_S, max(0.0, deadline - time.monotonic()))
            ready = select.select([self.lines.read_fd, watched], [], [], wait_s)[0]
            if self.lines.read_fd in ready:
                try:
                    return self.lines.receive(max(0.0, deadline - time.monotonic()))
                except WireError:
                    return None
            if ready:
                meanwhile()
            else:
                beat()
        return None

    def close(self) -> None:
        """Kill it and whatever it has forked."""
        _process.kill_group(self.process.pid)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                pass  # a broken pipe: it was killed


def template(home: str, backend: str, options: Dict[str, Any]) -> Child:
    """Start the template process of a backend with its options."""
    return Child(["--template", home, backend, json.dumps(options)])


def stager(home: str) -> Child:
    """Start the process that writes models."""
    return Child(["--stager", home])


_BEAT_S = 5.0

#: A child or nothing.
Maybe = Optional[Child]
