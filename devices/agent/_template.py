"""The template: a process that has imported the runtime and created nothing, and forks a worker per invocation.

Forking saves the import (0.15 s and more) and still gives every invocation a process, a heap and a session of its
own. The template itself never runs a model.
"""

import json
import os
import select
import signal
import sys
import time
from typing import Any, Dict, List, Optional, Tuple

from . import _plugins, _process, _worker
from ._wire import MAX_LINE_BYTES, Closed, Lines


def serve(backend_name: str, options: Dict[str, Any]) -> None:
    """Import the runtime, then fork a worker for every request until stdin ends."""
    _process.die_with_parent(os.getppid())
    lines = _private_lines()
    if options.get("affinity"):
        os.sched_setaffinity(0, options["affinity"])
    try:
        backend = _plugins.load("backends", backend_name)
        backend.prepare(options)
    except Exception as error:  # a missing or broken runtime is an answer
        lines.send({"ready": False, "cause": "%s: %s" % (type(error).__name__, str(error)[:1024])})
        return
    lines.send({"ready": True, "runtime": backend.facts()})
    while True:
        try:
            request = lines.receive()
        except Closed:
            return
        if request is not None:
            lines.send(_in_fresh_worker(backend, request))


def _private_lines() -> Lines:
    """Keep the pipe for us: whatever a runtime prints on stdout goes to stderr."""
    private = os.dup(1)
    os.dup2(2, 1)
    return Lines(0, private)


def _in_fresh_worker(backend: Any, request: Dict[str, Any]) -> Dict[str, Any]:
    read_fd, write_fd = os.pipe()
    parent = os.getpid()
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.close(read_fd)
        _run_and_exit(backend, request, write_fd, parent)
    os.close(write_fd)
    data, in_time = _read_all(read_fd, float(request["timeout_s"]))
    os.close(read_fd)
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    answer = _answer(data, status, in_time)
    answer["invocation_s"] = time.perf_counter() - began
    return answer


def _run_and_exit(backend: Any, request: Dict[str, Any], write_fd: int, parent: int) -> None:
    """Measure in the forked child; never return."""
    code = 1
    try:
        _process.die_with_parent(parent)
        _process.prefer_as_victim()
        data = json.dumps(_worker.invoke(backend, request), allow_nan=False).encode()
        with os.fdopen(write_fd, "wb") as file:
            file.write(data)
        code = 0
    except BaseException as error:  # the last border: the exit code tells the template
        sys.stderr.write("worker: %r\n" % (error,))
    finally:
        os._exit(code)


def _read_all(fd: int, timeout_s: float) -> Tuple[bytes, bool]:
    """Return what came until the end, and whether the end came in time."""
    deadline = time.monotonic() + timeout_s
    chunks: List[bytes] = []
    size = 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return b"".join(chunks), False
        chunk = os.read(fd, 1 << 20)
        if not chunk or size > MAX_LINE_BYTES:
            return b"".join(chunks), True
        chunks.append(chunk)
        size += len(chunk)


def _answer(data: bytes, status: int, in_time: bool) -> Dict[str, Any]:
    if not in_time:
        return {"ok": False, "stage": "timeout", "cause": "no answer in time; the worker was killed"}
    killed_by = _signal_of(status)
    if killed_by is not None:
        return {"ok": False, "stage": "killed", "cause": "the worker was killed by signal %d" % killed_by}
    try:
        answer = json.loads(data.decode("utf-8"))
    except ValueError:
        return {"ok": False, "stage": "killed", "cause": "the worker ended without an answer (status %d)" % status}
    return dict(answer)


def _signal_of(status: int) -> Optional[int]:
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
