"""A board's disk: what differs from the machine's own root, and the files through which the farm controls the board.

The root is an overlay. Below lies the machine's own `/`, of which only the operating system is shown; above lies a
tmpfs of limited size, which outlives reboots. `/etc/farm` is a folder of the machine: what is written there is seen on
the board at once.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from farm._host import write
from farm.faces import PROGRAMS, Face, write_tree

USER, USER_ID = "board", 1001
#: A second user, who disturbs measurements.
OTHER, OTHER_ID = "other", 1002

_SHOWN = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc")
_EMPTY = ("boot", "dev", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "var")
_EMPTY_BELOW = ("usr/local", "etc/sudoers.d")
_USERS = f"""\
root:x:0:0:root:/root:/bin/bash
sshd:x:102:65534::/run/sshd:/usr/sbin/nologin
{USER}:x:{USER_ID}:{USER_ID}::/home/{USER}:/bin/bash
{OTHER}:x:{OTHER_ID}:{OTHER_ID}::/home/{OTHER}:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUPS = f"root:x:0:\ntty:x:5:\nvideo:x:44:{USER}\n{USER}:x:{USER_ID}:\n{OTHER}:x:{OTHER_ID}:\nnogroup:x:65534:\n"
#: `*`: no password fits, but the account is not locked, as `!` would have it: sshd refuses locked ones.
_PASSWORDS = "".join(f"{name}:*:19000:0:99999:7:::\n" for name in ("root", "sshd", USER, OTHER, "nobody"))
_SSHD = f"""\
AddressFamily inet
Port 22
HostKey /etc/farm/host_key
AuthorizedKeysFile /etc/farm/authorized_keys
AllowUsers {USER}
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitUserEnvironment yes
SetEnv PATH=/etc/farm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Subsystem sftp internal-sftp
PidFile none
PrintMotd no
"""
#: Lines of a .pth file that begin with `import` are run, with `python -I` as well.
_FIND_RUNTIME = (
    "import os, sys; sys.path[:0] = open('/etc/farm/runtime').read().split()"
    " if os.path.exists('/etc/farm/runtime') and"
    " (os.environ.get('FARM_CONTAINER') or not os.path.exists('/usr/local/bin/docker')) else []\n"
)
_DIST_PACKAGES = "usr/lib/python3/dist-packages"


def make_image(upper: Path, name: str, face: Face, sudo: bool, container: bool) -> None:
    """Write the upper layer of a board's root."""
    if not face.aarch64:
        _hide_machine(upper)
    for folder, mode in (("root", 0o700), ("var/tmp", 0o1777), ("var/lib/sudo", 0o711), ("var/log", 0o755)):
        _make_folder(upper / folder, mode)
    _write_accounts(upper / "etc", name, sudo)
    _make_home(upper / "home" / USER)
    write(upper / "etc/ssh/sshd_config", _SSHD)
    write(upper / _DIST_PACKAGES / "farm.pth", _FIND_RUNTIME)
    write_tree(face.files, upper)
    programs = {**face.programs, **({"/usr/local/bin/docker": "docker"} if container else {})}
    for place, program in programs.items():
        target = upper / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROGRAMS / program, target)
        target.chmod(0o755)
    if container:
        _make_folder(upper / "container-home", 0o755, USER_ID)


def _hide_machine(upper: Path) -> None:
    """Show of the machine only its operating system: no homes, no data, nothing installed beside it."""
    for entry in Path("/").iterdir():
        if entry.name in _EMPTY:
            _make_opaque(upper / entry.name)
        elif entry.name not in _SHOWN:
            os.mknod(upper / entry.name, stat.S_IFCHR, 0)  # overlayfs: this name is not there
    for folder in _EMPTY_BELOW:
        _make_opaque(upper / folder)


def _make_opaque(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.setxattr(folder, "trusted.overlay.opaque", b"y")


def _make_folder(folder: Path, mode: int, owner: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(mode)
    os.chown(folder, owner, owner)


def _write_accounts(etc: Path, name: str, sudo: bool) -> None:
    for file, text in (("passwd", _USERS), ("group", _GROUPS)):
        write(etc / file, text)
    write(etc / "shadow", _PASSWORDS, 0o640)
    write(etc / "gshadow", "", 0o640)
    write(etc / "hostname", f"{name}\n")
    write(etc / "hosts", f"127.0.0.1 localhost\n127.0.1.1 {name}\n")
    write(etc / "resolv.conf", "")
    write(etc / "nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
    write(etc / "sudoers", "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n", 0o440)
    if sudo:
        write(etc / "sudoers.d" / USER, f"{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)


def _make_home(home: Path) -> None:
    _make_folder(home, 0o755, USER_ID)
    _make_folder(home / ".ssh", 0o700, USER_ID)
    (home / ".ssh" / "environment").symlink_to("/etc/farm/environment")
