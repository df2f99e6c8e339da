"""A controller's claim on the machine: the lease, a note of what runs for it, and the undoing of what was changed.

The note lies in HOME/run/PID.json. Whoever begins next looks through all notes: of a supervisor that has died it kills
the process groups that are left and undoes the power states that were changed.
"""

import json
import os
import signal
import time
from typing import Any, Dict, List, Optional

from . import _host, _lease, _plugins, _process

_TAKE_OVER_S = 5.0
_ORDER = ("power_mode", "governor", "clocks")


class ClaimError(Exception):
    """The claim is refused; `stage` is `lease` or `power`."""

    def __init__(self, stage: str, cause: str) -> None:
        super().__init__(cause)
        self.stage = stage


class Claim:
    """What a supervisor holds for its controller."""

    def __init__(self, home: str) -> None:
        self._folder = os.path.join(home, "run")
        self._note: Dict[str, Any] = {}
        self._owner: Dict[str, Any] = {}
        self._lease: Optional[int] = None
        self._lease_s = 0.0

    def take(self, request: Dict[str, Any]) -> None:
        """Lease the machine, clean up after the dead, change the power states asked for; raise ClaimError."""
        os.makedirs(self._folder, exist_ok=True)
        self._lease_s = float(request.get("lease_s", 300.0))
        pid = os.getpid()
        self._owner = {"owner": str(request.get("owner", ""))[:100], "pid": pid, "since": _clock(time.time())}
        self._owner["token"] = str(request.get("token", ""))[:64]
        if request.get("lease"):
            self._take_lease(_lease.folder())
        self._clean()
        self._note = {"pid": pid, "started": _host.started_at(pid), "boot_id": _host.boot_id(), "undo": []}
        self._note.update(groups=[], token=self._owner["token"])
        self._write()
        for name, options in sorted(dict(request.get("power") or {}).items(), key=_rank):
            self._change(str(name), dict(options))

    def extend(self, seconds: float) -> None:
        """Say that the lease lasts for what is under way and the idle time after it."""
        if self._lease is not None:
            _lease.note(self._lease, dict(self._owner, expires=_clock(time.time() + seconds + self._lease_s)))

    def idle_s(self) -> Optional[float]:
        """Return after how many silent seconds the lease has expired, None without a lease."""
        return None if self._lease is None else self._lease_s

    def record(self, groups: List[int]) -> None:
        """Write down which process groups run for us."""
        if self._note:
            self._note["groups"] = [[pid, _host.started_at(pid)] for pid in groups]
            self._write()

    def release(self) -> None:
        """Undo what was changed and give the lease back."""
        if self._note:
            _undo(self._note.get("undo", []))
            _remove(self._path(os.getpid()))
            self._note = {}
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None

    def _take_lease(self, folder: str) -> None:
        deadline = time.monotonic() + _TAKE_OVER_S
        while True:
            try:
                self._lease = _lease.take(folder, "cpu", self._owner)
                return
            except _lease.Held as held:
                ours = held.owner.get("token") == self._owner["token"] and self._owner["token"]
                if not ours or time.monotonic() > deadline:
                    raise ClaimError("lease", _lease.describe(held.owner)) from None
                self._end_old_self(held.owner.get("pid"))
                time.sleep(0.05)
            except OSError as error:
                raise ClaimError("lease", "%s: %s" % (folder, error.strerror)) from None

    def _end_old_self(self, pid: Any) -> None:
        """Kill the supervisor that served this controller before its link was lost and that has not noticed yet."""
        note = _read(self._path(pid)) if isinstance(pid, int) else {}
        if note.get("token") == self._owner["token"] and _is_alive(note):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass  # gone meanwhile

    def _clean(self) -> None:
        for name in os.listdir(self._folder):
            path = os.path.join(self._folder, name)
            note = _read(path)
            if name.endswith(".json") and not _is_alive(note):
                if note.get("boot_id") == _host.boot_id():
                    _kill_groups(note.get("groups"))
                    _undo(note.get("undo"))
                _remove(path)

    def _change(self, name: str, options: Dict[str, Any]) -> None:
        try:
            module = _plugins.load("power", name)
        except ValueError as error:
            raise ClaimError("power", str(error)) from None
        try:
            record = module.apply(options)
        except Exception as error:  # whatever it is, the power state asked for is not there
            raise ClaimError("power", "%s: %s" % (name, error)) from None
        self._note["undo"].append([name, record])
        self._write()

    def _path(self, pid: int) -> str:
        return os.path.join(self._folder, "%d.json" % pid)

    def _write(self) -> None:
        part = self._path(os.getpid()) + ".part"
        try:
            with open(part, "w") as file:
                json.dump(self._note, file)
            os.replace(part, self._path(os.getpid()))
        except OSError:
            _remove(part)  # a full disk: what runs is still ended by its parent's death


def _rank(item: Any) -> int:
    """Return when a change is to be made: a power mode resets clocks, and locking them comes last."""
    return _ORDER.index(item[0]) if item[0] in _ORDER else 0


def _undo(records: Any) -> None:
    for item in reversed(records if isinstance(records, list) else []):
        try:
            name, record = item
            _plugins.load("power", name).undo(record)
        except Exception:  # noqa: S112  (the rest must be undone all the same)
            continue


def _kill_groups(groups: Any) -> None:
    for item in groups if isinstance(groups, list) else []:
        if isinstance(item, list) and len(item) == 2 and isinstance(item[0], int) and item[0] > 1:
            if item[1] and _host.started_at(item[0]) == item[1]:
                _process.kill_group(item[0])


def _is_alive(note: Dict[str, Any]) -> bool:
    pid = note.get("pid")
    if not isinstance(pid, int) or note.get("boot_id") != _host.boot_id():
        return False
    started = _host.started_at(pid)
    return bool(started) and started == note.get("started")


def _read(path: str) -> Dict[str, Any]:
    try:
        with open(path) as file:
            found = json.loads(file.read(1 << 16))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        pass  # gone already


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
