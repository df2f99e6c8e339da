"""The supervisor: answers the controller, reads the sensors, owns template and stager; ends with its stdin.

Requests are {"id", "op", ...}, answers carry the same id; requests may be sent ahead of the answers, and are served in
their order. Operations: `begin` (claim the machine), `probe`, `state`, `stage` (write a model from its recipe), `room`
and `adopt` (a model that was uploaded), `measure`, `install` (a runtime), `quit`. Before a template is needed none is
started, so that `state` and `install` work where the runtime is missing.
"""

import json
import os
import shutil
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import PROTOCOL_VERSION, _blobs, _children, _claim, _energy, _host, _pace, _sensing
from ._blobs import BlobError
from ._wire import Closed, PipeLines

_START_S = 120.0
_STAGE_S = 120.0
#: State read after one invocation serves as the state before the next one that begins within this time.
_FRESH_S = 0.05
#: How long the first loops are timed, so that the first invocation knows the full pace as well.
_PACE_S = 1.0


class Supervisor:
    """One controller's agent; `home` is the folder for whatever it keeps."""

    def __init__(self, lines: PipeLines, home: str) -> None:
        self.lines = lines
        self.home = home
        self._claim = _claim.Claim(home)
        self._blobs = _blobs.Blobs(os.path.join(home, "blobs"))
        self._template: _children.Maybe = None
        self._template_key = ("", "")
        self._stager: _children.Maybe = None
        self._runtime: Dict[str, Any] = {}
        self._sensors: Dict[str, Any] = {}
        self._last_state: Tuple[float, Dict[str, Any]] = (-1.0, {})
        self._pace_ns = 0
        self._serving: Any = None

    def serve(self) -> None:
        """Answer requests until the controller goes, says quit, or is silent for longer than its lease."""
        try:
            self.lines.send(self._hello())
            while True:
                request = self.lines.receive(self._claim.idle_s())
                if request is None or request.get("op") == "quit":
                    return
                self._serving = request.get("id")
                self.lines.send(dict(self._answer(request), id=self._serving))
        except Closed:
            return
        finally:
            for child in (self._template, self._stager):
                if child is not None:
                    child.close()
            self._claim.release()

    def _hello(self) -> Dict[str, Any]:
        return {
            "op": "hello",
            "protocol": PROTOCOL_VERSION,
            "pid": os.getpid(),
            "boot_id": _host.boot_id(),
            "host": _host.host_facts(),
        }

    def _answer(self, request: Dict[str, Any]) -> Dict[str, Any]:
        operations: Dict[str, Callable[[Dict[str, Any]], Dict[str, Any]]] = {
            "begin": self._begin,
            "probe": self._probe,
            "state": lambda request: {"ok": True, "state": self._read(slow=True)},
            "stage": self._stage,
            "room": lambda request: _blobs.room(self._blobs, request.get("size_bytes")),
            "adopt": self._adopt,
            "install": self._install,
            "measure": self._measure,
        }
        operation = operations.get(str(request.get("op")))
        if operation is None:
            return {"ok": False, "stage": "request", "cause": "unknown operation %r" % (request.get("op"),)}
        try:
            return operation(request)
        except Closed:
            raise
        except BlobError as error:
            return {"ok": False, "stage": error.stage, "cause": str(error)}
        except _claim.ClaimError as error:
            return {"ok": False, "stage": error.stage, "cause": str(error)}
        except Exception as error:  # one request that goes wrong must not end the agent
            return {"ok": False, "stage": "agent", "cause": "%s: %s" % (type(error).__name__, str(error)[:500])}

    def _begin(self, request: Dict[str, Any]) -> Dict[str, Any]:
        self._sensors = dict(request.get("sensors") or {})
        self._claim.take(request)
        self._claim.extend(0.0)
        self._blobs.clean()
        return {"ok": True}

    def _probe(self, request: Dict[str, Any]) -> Dict[str, Any]:
        problem = self._need_template(request)
        return problem or {"ok": True, "runtime": self._runtime, "state": self._read(slow=True)}

    def _adopt(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {"ok": True, "path": self._blobs.adopt(request.get("part"), request.get("sha256"))}

    def _install(self, request: Dict[str, Any]) -> Dict[str, Any]:
        from . import _install

        self._drop_template()
        folder = os.path.join(self._blobs.folder, os.path.basename(str(request["folder"])))
        paths = [os.path.join(folder, os.path.basename(str(name))) for name in request["wheels"]]
        try:
            return {"ok": True, "runtime": _install.install(paths, os.path.join(self.home, "runtime"))}
        except _install.InstallError as error:
            return {"ok": False, "stage": "install", "cause": str(error)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _stage(self, request: Dict[str, Any]) -> Dict[str, Any]:
        if self._stager is None or not self._stager.alive():
            if self._stager is not None:
                self._stager.close()
            self._stager = _children.stager(self.home)
            self._record_groups()
        size = request.get("size_bytes")
        self._blobs.make_room(size if isinstance(size, int) and size > 0 else 0)
        self._stager.lines.send({"sha256": request.get("sha256"), "recipe": request.get("recipe")})
        answer = self._stager.answer(_STAGE_S, self._take_in, self._beat)
        if answer is None:
            self._stager.close()
            self._stager = None
            return {"ok": False, "stage": "killed", "cause": "the process that writes models died"}
        return dict(answer)

    def _measure(self, request: Dict[str, Any]) -> Dict[str, Any]:
        timeout_s = float(request["timeout_s"])
        self._claim.extend(timeout_s)
        path = self._blobs.find(request["blob"]) if "blob" in request else request["path"]
        task = dict({key: request[key] for key in ("options", "protocol", "timeout_s")}, path=path)
        if request["protocol"].get("purpose") == "energy":
            return self._measure_energy(request, task)
        return self._need_template(request) or self._invoke(task)

    def _measure_energy(self, request: Dict[str, Any], task: Dict[str, Any]) -> Dict[str, Any]:
        """Read a sensor of energy beside the worker; without one nothing is run."""
        try:
            source = _energy.find(request.get("energy_sensors") or (), self._sensors)
        except _energy.EnergyError as error:
            return {"ok": False, "stage": "energy", "cause": str(error)}
        problem = self._need_template(request)
        if problem is not None:
            return problem
        with _energy.Sampler(source) as sampler:
            answer = self._invoke(dict(task, protocol=source.stretched(task["protocol"])))
        return dict(answer, energy=sampler.account(answer["windows"], answer["calls"])) if answer["ok"] else answer

    def _invoke(self, task: Dict[str, Any]) -> Dict[str, Any]:
        assert self._template is not None
        if task["protocol"].get("pace_wait_s"):
            self._pace_ns = self._pace_ns or _pace.best_ns(_PACE_S)
            task = dict(task, protocol=dict(task["protocol"], pace_ns=self._pace_ns))
        before = self._state_before()
        began = time.monotonic()
        self._template.lines.send(task)
        answer = self._template.answer(float(task["timeout_s"]) + 10.0, self._take_in, self._beat)
        elapsed_s = time.monotonic() - began
        if answer is None:
            self._drop_template()
            return {"ok": False, "stage": "killed", "cause": "the template process died"}
        after = self._read(slow=False)
        self._last_state = (time.monotonic(), after)
        self._pace_ns = min(answer.get("pace_ns") or self._pace_ns, self._pace_ns)
        return dict(answer, before=before, after=after, elapsed_s=elapsed_s)

    def _need_template(self, request: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """Start the template that a request needs; return the answer to give when that fails."""
        key = (request["backend"], json.dumps(request["options"], sort_keys=True))
        if self._template is not None and self._template_key == key and self._template.alive():
            return None
        self._drop_template()
        self._template, self._template_key = _children.template(self.home, request["backend"], request["options"]), key
        self._record_groups()
        ready = self._template.answer(_START_S, self._take_in, self._beat)
        if ready is None or not ready.get("ready"):
            cause = "the template did not start" if ready is None else str(ready.get("cause"))
            self._drop_template()
            return {"ok": False, "stage": "runtime", "cause": cause}
        self._runtime = ready["runtime"]
        return None

    def _drop_template(self) -> None:
        if self._template is not None:
            self._template.close()
            self._template = None

    def _record_groups(self) -> None:
        children: List[_children.Maybe] = [self._template, self._stager]
        self._claim.record([child.process.pid for child in children if child is not None])

    def _state_before(self) -> Dict[str, Any]:
        at, state = self._last_state
        return state if 0 <= time.monotonic() - at < _FRESH_S and at > 0 else self._read(slow=False)

    def _read(self, slow: bool) -> Dict[str, Any]:
        return _sensing.read_sensors(slow, self._sensors)

    def _take_in(self) -> int:
        """Take in requests that are sent ahead; raise Closed when the controller has gone."""
        while self.lines.pump(0.0):
            pass
        return self.lines.read_fd

    def _beat(self) -> None:
        self.lines.send({"op": "beat", "id": self._serving})
