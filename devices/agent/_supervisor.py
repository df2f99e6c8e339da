"""The supervisor: answers the controller, reads the sensors, owns the template; ends with its stdin.

Requests: {"id", "op": "probe" | "state" | "measure" | "quit"}; answers carry the same id. Before a template is
needed none is started, so that `probe` works where the runtime is missing.
"""

import json
import os
import platform
import select
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional

from . import PROTOCOL_VERSION, _plugins, _process
from ._wire import Closed, Lines, WireError


class Template:
    """The template process of one backend with one set of options."""

    def __init__(self, backend: str, options: Dict[str, Any]) -> None:
        environment = dict(os.environ)
        # numpy's BLAS would start threads that a fork loses.
        environment.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        self.key = (backend, json.dumps(options, sort_keys=True))
        self.process = subprocess.Popen(
            _own_command() + ["--template", backend, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.lines = Lines(self.process.stdout.fileno(), self.process.stdin.fileno())

    def close(self) -> None:
        """Kill the template and whatever it has forked."""
        _process.kill_group(self.process.pid)
        self.process.wait()


class Supervisor:
    """One controller's agent."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.template: Optional[Template] = None
        self.runtime: Dict[str, Any] = {}

    def serve(self) -> None:
        """Answer requests until the controller goes or says quit."""
        self.lines.send({"op": "hello", "protocol": PROTOCOL_VERSION, "pid": os.getpid(), "host": host_facts()})
        try:
            while True:
                request = self.lines.receive()
                if request is None or request.get("op") == "quit":
                    return
                self.lines.send(dict(self._answer(request), id=request.get("id")))
        except Closed:
            return
        finally:
            self._drop_template()

    def _answer(self, request: Dict[str, Any]) -> Dict[str, Any]:
        op = request.get("op")
        if op == "state":
            return {"ok": True, "state": read_sensors()}
        if op == "probe":
            problem = self._need_template(request)
            return problem or {"ok": True, "runtime": self.runtime, "state": read_sensors()}
        if op == "measure":
            return self._measure(request)
        return {"ok": False, "stage": "request", "cause": "unknown operation %r" % (op,)}

    def _measure(self, request: Dict[str, Any]) -> Dict[str, Any]:
        problem = self._need_template(request)
        if problem is not None or self.template is None:
            return problem or {}
        before = read_sensors()
        began = time.monotonic()
        self.template.lines.send({key: request[key] for key in ("path", "options", "protocol", "timeout_s")})
        answer = self._wait_for_template(float(request["timeout_s"]) + 10.0)
        elapsed_s = time.monotonic() - began
        if answer is None:
            self._drop_template()
            return {"ok": False, "stage": "killed", "cause": "the template process died"}
        return dict(answer, before=before, after=read_sensors(), elapsed_s=elapsed_s)

    def _need_template(self, request: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """Start the template that a request needs; return the answer to give when that fails."""
        key = (request["backend"], json.dumps(request["options"], sort_keys=True))
        if self.template is not None and self.template.key == key and self.template.process.poll() is None:
            return None
        self._drop_template()
        self.template = Template(request["backend"], request["options"])
        ready = self._wait_for_template(60.0)
        if ready is None or not ready.get("ready"):
            cause = "the template did not start" if ready is None else str(ready.get("cause"))
            self._drop_template()
            return {"ok": False, "stage": "runtime", "cause": cause}
        self.runtime = ready["runtime"]
        return None

    def _wait_for_template(self, timeout_s: float) -> Optional[Dict[str, Any]]:
        """Return what the template says, None when it dies or is late; raise Closed when the controller goes."""
        assert self.template is not None
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            watched = [self.template.lines.read_fd, self.lines.read_fd]
            ready = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))[0]
            if self.template.lines.read_fd in ready:
                try:
                    return self.template.lines.receive(max(0.0, deadline - time.monotonic()))
                except WireError:
                    return None
            if self.lines.read_fd in ready:
                # The controller asks nothing while we measure: this is the end of its pipe.
                raise Closed("the controller has gone")
        return None

    def _drop_template(self) -> None:
        if self.template is not None:
            self.template.close()
            self.template = None


def read_sensors() -> Dict[str, Any]:
    """Return what every sensor says, one entry a sensor; one that cannot be read says why."""
    found: Dict[str, Any] = {"monotonic_s": time.monotonic()}
    for name in _plugins.names("sensors"):
        module = _plugins.load("sensors", name)
        try:
            found[name] = module.read()
        except module.SensorUnavailable as error:
            found[name] = {"unavailable": str(error)[:200]}
    return found


def host_facts() -> Dict[str, Any]:
    """Return what must agree before measurements of two runs may be put together."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "cpu_model": _cpu_model(),
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)),
        "virtual": _is_virtual(),
    }


def _cpu_model() -> str:
    for line in _lines_of("/proc/cpuinfo"):
        if line.lower().startswith(("model name", "hardware", "cpu model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _is_virtual() -> bool:
    return any(line.startswith("flags") and " hypervisor" in line for line in _lines_of("/proc/cpuinfo"))


def _lines_of(path: str) -> List[str]:
    try:
        with open(path) as file:
            return file.read(1 << 20).splitlines()
    except OSError:
        return []


def _own_command() -> List[str]:
    """Return how to start this same program again, packed or not."""
    packed = os.environ.get("HILNAS_AGENT_FILE")
    return [sys.executable, "-I", "-u", packed] if packed else [sys.executable, "-u", "-m", __package__]
