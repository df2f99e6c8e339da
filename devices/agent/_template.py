"""The template: a process that has imported the runtime and created nothing, and starts a worker per invocation.

Forking saves the import (0.15 s and more) and still gives every invocation a process, a heap and a session of its
own. The template itself never runs a model. Where a backend says that forking is unsafe every worker is a process
started anew.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import _plugins, _process, _worker
from ._wire import MAX_LINE_BYTES, Closed, PipeLines


def serve(home: str, backend_name: str, options: Dict[str, Any]) -> None:
    """Import the runtime, then start a worker for every request until stdin ends."""
    _process.die_with_parent(os.getppid())
    lines = PipeLines(0, _process.private_stdout())
    options = dict(options, cache_folder=os.path.join(home, "engines"))
    if options.get("affinity"):
        os.sched_setaffinity(0, options["affinity"])
    try:
        backend = _plugins.load("backends", backend_name)
        backend.prepare(options)
    except Exception as error:  # a missing or broken runtime is an answer
        lines.send({"ready": False, "cause": "%s: %s" % (type(error).__name__, str(error)[:1024])})
        return
    lines.send({"ready": True, "runtime": backend.facts()})
    anew = _process.own_command() + ["--worker", home, backend_name, json.dumps(options)]
    while True:
        try:
            request = lines.receive()
        except Closed:
            return
        if request is not None:
            _in_fresh_worker(backend, options, anew, dict(request, options=options), lines.send)


def work(backend_name: str, options: Dict[str, Any]) -> None:
    """Be a worker that was started anew: one request on stdin, one answer on stdout."""
    parent = os.getppid()
    write_fd = _process.private_stdout()
    request = json.loads(sys.stdin.buffer.read(MAX_LINE_BYTES).decode("utf-8"))
    backend = _plugins.load("backends", backend_name)
    backend.prepare(options)
    _run_and_exit(backend, request, write_fd, parent)


def _in_fresh_worker(
    backend: Any,
    options: Dict[str, Any],
    anew: List[str],
    request: Dict[str, Any],
    send: Callable[[Dict[str, Any]], None],
) -> None:
    """Send the answer of a fresh worker; once it has said all nobody waits while it gives its memory back."""
    began = time.perf_counter()
    oom_kills = _oom_kills()
    fork_safe = getattr(backend, "fork_safe", None)
    if fork_safe is None or fork_safe(options):
        pid, read_fd = _forked(backend, request)
    else:
        pid, read_fd = _started(anew, request)
    data, in_time = _read_all(read_fd, float(request["timeout_s"]))
    os.close(read_fd)
    said = _whole(data) if in_time else None
    if said is not None:
        send(dict(said, invocation_s=time.perf_counter() - began))
        os.waitpid(pid, 0)
        return
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    answer = _ended(status, in_time, _oom_kills() > oom_kills)
    send(dict(answer, invocation_s=time.perf_counter() - began))


def _forked(backend: Any, request: Dict[str, Any]) -> Tuple[int, int]:
    read_fd, write_fd = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(read_fd)
        _run_and_exit(backend, request, write_fd, parent)
    os.close(write_fd)
    return pid, read_fd


def _started(anew: List[str], request: Dict[str, Any]) -> Tuple[int, int]:
    process = subprocess.Popen(anew, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
    except OSError:
        pass  # it has died already: its status tells
    process.returncode = 0  # we wait for it ourselves
    return process.pid, os.dup(process.stdout.fileno())


def _run_and_exit(backend: Any, request: Dict[str, Any], write_fd: int, parent: int) -> None:
    """Measure in the worker; never return."""
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


def _whole(data: bytes) -> Optional[Dict[str, Any]]:
    """Return what a worker said, None where it did not come to the end."""
    try:
        return dict(json.loads(data.decode("utf-8")))
    except ValueError:
        return None


def _ended(status: int, in_time: bool, out_of_memory: bool) -> Dict[str, Any]:
    """Return why a worker has not answered."""
    if not in_time:
        return {"ok": False, "stage": "timeout", "cause": "no answer in time; the worker was killed"}
    killed_by = _signal_of(status)
    if killed_by == signal.SIGKILL and out_of_memory:
        return {"ok": False, "stage": "memory", "cause": "the kernel killed the worker: out of memory"}
    if killed_by is not None:
        return {"ok": False, "stage": "killed", "cause": "the worker was killed by signal %d" % killed_by}
    return {"ok": False, "stage": "killed", "cause": "the worker ended without an answer (status %d)" % status}


def _oom_kills() -> int:
    """Return how many processes the kernel has killed since boot because memory ran out."""
    try:
        with open("/proc/vmstat") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except (OSError, ValueError, IndexError):
        return 0  # an old kernel: then it counts as killed by somebody


def _signal_of(status: int) -> Optional[int]:
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
