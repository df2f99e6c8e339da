"""What the farm needs of a machine, and the Debian packages that bring it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from farm._host import plain_environment

#: Command -> Debian package.
_TOOLS = {
    "/usr/sbin/sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "/usr/bin/python3": "python3",
}
_SPACES = ("--net", "--pid", "--mount", "--uts", "--ipc")


def why_unavailable() -> str | None:
    """Return why there can be no stand-in boards on this machine and what would help; None when there can."""
    if not sys.platform.startswith("linux"):
        return f"stand-in boards are made of Linux namespaces; this is {sys.platform}"
    if os.geteuid() != 0:
        return "stand-in boards need root (namespaces, mounts); run as root, or in a virtual machine of your own"
    packages = missing_packages(_TOOLS)
    if packages:
        return f"commands are missing; run: apt-get install {' '.join(packages)}"
    return _refused_namespaces()


def missing_packages(tools: dict[str, str]) -> list[str]:
    """Return the packages whose commands are not there."""
    path = plain_environment()["PATH"]
    return sorted({package for tool, package in tools.items() if shutil.which(tool, path=path) is None})


@cache
def _refused_namespaces() -> str | None:
    """Try for real: containers show namespaces that they do not allow to be made."""
    script = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/r && mount -t overlay overlay"
    script += " -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w /mnt/r"
    done = subprocess.run(
        ["unshare", *_SPACES, "--fork", "/bin/sh", "-c", script],
        capture_output=True,
        text=True,
        env=plain_environment(),
    )
    if done.returncode:
        return f"namespaces or overlay mounts are not allowed here: {done.stderr.strip()[-200:]}"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun, which slow links are made of; load it with: modprobe tun"
    return None
