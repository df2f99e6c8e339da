"""What a stand-in board does before its sshd runs: mounts its disk, becomes a machine of its own, gives up privileges.

Run as `python -I -S _boot.py PLAN.json` in fresh namespaces, as their first process; standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

_BIND, _REC, _REMOUNT, _PRIVATE = 0x1000, 0x4000, 0x20, 0x40000
_NOSUID, _NODEV, _NOEXEC, _READ_ONLY = 0x2, 0x4, 0x8, 0x1
_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_CAPBSET_DROP = 24
#: The clock, kernel modules, raw devices, the kernel's log and mounting belong to the machine, not to its stand-ins.
_SYS_MODULE, _SYS_RAWIO, _SYS_ADMIN, _SYS_BOOT, _SYS_TIME, _SYSLOG = 16, 17, 21, 22, 25, 34
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_libc = ctypes.CDLL(None, use_errno=True)


def main(plan: dict[str, Any]) -> None:
    """Become the board that the plan describes; never returns."""
    for path in plan["cgroups"]:
        Path(path).write_text("0")
    root = Path(plan["root"])
    _mount("none", "/", "", _REC | _PRIVATE)
    _mount("overlay", root, "overlay", 0, f"lowerdir={plan['lower']},upperdir={plan['upper']},workdir={plan['work']}")
    _mount_system(root, plan["sys"])
    for source, target, read_only in plan["binds"]:
        bind(source, root / target.lstrip("/"), read_only)
    socket.sethostname(plan["hostname"])
    _enter(root)
    for capability in (_SYS_MODULE, _SYS_RAWIO, _SYS_ADMIN, _SYS_BOOT, _SYS_TIME, _SYSLOG):
        _checked(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "dropping a capability")
    os.umask(0o022)
    os.execve(plan["argv"][0], plan["argv"], {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


def bind(source: str, target: Path, read_only: bool) -> None:
    """Show a file or folder at another place, where it is made when it is not there."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir() if Path(source).is_dir() else target.touch()
    _mount(source, target, "", _BIND | _REC)
    if read_only:
        _mount("none", target, "", _BIND | _REMOUNT | _READ_ONLY)


def _mount_system(root: Path, sys_tree: str | None) -> None:
    _mount("proc", root / "proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    for place in ("proc/sys", "proc/sysrq-trigger"):  # the machine's own settings
        if (root / place).exists():
            bind(str(root / place), root / place, True)
    if sys_tree is None:
        _mount("sysfs", root / "sys", "sysfs", _NOSUID | _NODEV | _NOEXEC | _READ_ONLY)
    else:
        bind(sys_tree, root / "sys", False)
    _mount("tmpfs", root / "run", "tmpfs", _NOSUID | _NODEV, "mode=755,size=16m")
    (root / "run/sshd").mkdir(mode=0o755)
    _mount("tmpfs", root / "tmp", "tmpfs", _NOSUID | _NODEV, "mode=1777,size=64m")
    _make_devices(root / "dev")


def _make_devices(dev: Path) -> None:
    _mount("tmpfs", dev, "tmpfs", _NOSUID, "mode=755,size=1m")
    for name in _DEVICES:
        os.mknod(dev / name, 0o020666, Path("/dev", name).stat().st_rdev)
        (dev / name).chmod(0o666)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    _mount("devpts", dev / "pts", "devpts", _NOSUID | _NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    _mount("tmpfs", dev / "shm", "tmpfs", _NOSUID | _NODEV, "mode=1777,size=64m")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        (dev / name).symlink_to(f"/proc/self/{target}" if target.startswith("fd/") else target)


def _enter(root: Path) -> None:
    """Make `root` the root and let go of the machine's mounts, so that no board keeps another one's disk alive."""
    os.chdir(root)
    _checked(_libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", _DETACH), "letting go of the machine's mounts")
    os.chdir("/")


def _mount(source: object, target: object, kind: str, flags: int, data: str = "") -> None:
    words = (str(word).encode() for word in (source, target, kind))
    _checked(_libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None), f"mounting {target}")


def _checked(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
