"""Switching boards on and off: fresh namespaces around the disk, killed at once."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import uuid
from pathlib import Path

from farm import _arm64, faces
from farm._errors import FarmFailure
from farm._host import Running, call, only_child, running, spawn, wait_until, write
from farm._runtime import host_runtime
from farm._state import BoardState

_BOOT_S = 15.0
#: Where a board finds ONNX Runtime and numpy.
RUNTIME = "/opt/farm-runtime"
#: Fresh time namespaces let a board's uptime begin at a few seconds, whatever the machine's is.
_AGE_S = 5


def start(state: BoardState) -> BoardState:
    """Boot a board and wait until its sshd listens; raise FarmFailure with its log when it does not."""
    face = faces.load(state.face)
    if face.sys is not None:
        shutil.rmtree(state.sys_folder, ignore_errors=True)
        faces.write_tree(face.sys, state.sys_folder)
        _close_debug(state.sys_folder)
    write(state.control / "boot_id", f"{uuid.uuid4()}\n", 0o444)
    plan = state.folder / "plan.json"
    write(plan, json.dumps(_plan(state, face)))
    boot = [sys.executable, "-I", "-S", str(Path(__file__).with_name("_boot.py")), str(plan)]
    outer = spawn([*_namespaces(state), *boot], state.folder / "log")
    state = state.changed(outer=outer, init=None)
    wait_until(lambda: only_child(outer.pid) or not outer.alive, _BOOT_S, f"{state.name} to start")
    child = only_child(outer.pid)
    if child is None:
        raise _dead(state)
    state = state.changed(init=running(child))
    wait_until(lambda: listener(child) or not outer.alive, _BOOT_S, f"the sshd of {state.name}")
    if not outer.alive:
        raise _dead(state)
    if face.at_boot:
        call(*enter(running(child)), *face.at_boot)
    return state


def stop(state: BoardState) -> BoardState:
    """Cut the power: everything on the board ends at once, what is in memory is lost."""
    with contextlib.suppress(OSError, FarmFailure):  # what is frozen does not die
        if state.is_on:
            state.group.freeze(False)
    for process in (state.init, state.outer):
        if process is not None:
            process.kill()
    return state.changed(outer=None, init=None)


def listener(init_pid: int) -> str | None:
    """Return what identifies the socket that listens on port 22 of a board; None while there is none."""
    try:
        rows = Path(f"/proc/{init_pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return None
    found = [row.split() for row in rows]
    return next((words[9] for words in found if words[1].endswith(":0016") and words[3] == "0A"), None)


def enter(init: Running) -> list[str]:
    """Return the words that run a command on a board as root."""
    words = ["nsenter", f"--target={init.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd=/"]
    return [*words, "--time", "--"] if _has_time() else [*words, "--"]


def _namespaces(state: BoardState) -> list[str]:
    words = ["nsenter", f"--net=/run/netns/{state.label}", "unshare", "--fork", "--kill-child"]
    words += ["--pid", "--mount", "--uts", "--ipc"]
    if not _has_time():
        return words
    # Both clocks of /proc/uptime and of time.monotonic() begin anew: times of two boots cannot be compared.
    back_s = max(0, int(float(Path("/proc/uptime").read_text().split()[0])) - _AGE_S)
    return [*words, "--time", f"--monotonic=-{back_s}", f"--boottime=-{back_s}"]


def _has_time() -> bool:
    return Path("/proc/self/ns/time").exists()


def _plan(state: BoardState, face: faces.Face) -> dict[str, object]:
    return {
        "cgroups": [str(folder / "cgroup.procs") for folder in state.group.folders()],
        "root": str(state.folder / "root"),
        "lower": str(_arm64.arm64_root() if face.aarch64 else "/"),
        "upper": str(state.disk_folder / "upper"),
        "work": str(state.disk_folder / "work"),
        "sys": None if face.sys is None else str(state.sys_folder),
        "binds": _binds(state, face),
        "hostname": state.name,
        "argv": ["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/sshd_config"],
    }


def _binds(state: BoardState, face: faces.Face) -> list[tuple[str, str, bool]]:
    """Return what the board sees of the machine: source, place on the board, read-only or not."""
    found = [
        (str(state.control), "/etc/farm", False),
        (str(state.control / "boot_id"), "/proc/sys/kernel/random/boot_id", True),
    ]
    if state.runtime:
        found.append((str(_arm64.arm64_runtime() if face.aarch64 else host_runtime()), RUNTIME, True))
    if face.cpuinfo:
        write(state.folder / "cpuinfo", face.cpuinfo)
        found.append((str(state.folder / "cpuinfo"), "/proc/cpuinfo", True))
    return found


def _close_debug(sys_tree: Path) -> None:
    debug = sys_tree / "kernel/debug"
    if debug.is_dir():
        debug.chmod(0o700)


def _dead(state: BoardState) -> FarmFailure:
    log = (state.folder / "log").read_text(errors="replace").strip()
    return FarmFailure(f"the stand-in {state.name} does not boot", log[-800:] or "Its log is empty.")
