"""Which host keys are trusted: the user's own known_hosts and the project's; nothing is accepted silently."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import paramiko

from devices._errors import HostKeyRefused
from hilnas.errors import BadFile

SYSTEM_FILE = Path("/etc/ssh/ssh_known_hosts")
USER_FILE = Path("~/.ssh/known_hosts")
_MAX_BYTES = 8 * 2**20


def project_files() -> list[Path]:
    """Return the project's and the user's known_hosts of hilnas, the first being where keys are added."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [Path("device_configs") / "known_hosts", home / "hilnas" / "device_configs" / "known_hosts"]


def fingerprint(key: paramiko.PKey) -> str:
    """Return the SHA-256 fingerprint as ssh-keygen prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def entry_name(host: str, port: int) -> str:
    """Return the name under which known_hosts lists a host: other ports than 22 have the form [host]:port."""
    return host if port == 22 else f"[{host}]:{port}"


def readable(files: Sequence[Path]) -> list[Path]:
    """Return the files that are there and are known_hosts; raise BadFile for one that cannot be read."""
    found = []
    for path in (item.expanduser() for item in files):
        try:
            if path.is_file() and path.stat().st_size <= _MAX_BYTES:
                paramiko.HostKeys(str(path))
                found.append(path)
        except (OSError, UnicodeDecodeError, paramiko.SSHException) as error:
            raise BadFile(f"{path} cannot be read as known_hosts: {error}") from error
    return found


def add_key(path: Path, name: str, key: paramiko.PKey) -> None:
    """Write a key that a human has confirmed into a known_hosts file, in place of older ones of that host."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.split(" ")[0] != name]
    text = "\n".join([*kept, f"{name} {key.get_name()} {key.get_base64()}", ""])
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


class RefuseUnknown(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """Refuses a host without a trusted key, and says how to trust it."""

    def __init__(self, device: str) -> None:
        self._device = device

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Raise HostKeyRefused."""
        raise unknown_key(self._device, hostname, key)


class AcceptFingerprint(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """Trusts the one key whose fingerprint a human has named; keeps it for `accepted`."""

    def __init__(self, device: str, wanted: str) -> None:
        self._device = device
        self._wanted = wanted
        self.accepted: tuple[str, paramiko.PKey] | None = None

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Keep the key; raise HostKeyRefused when it is another one."""
        if fingerprint(key) != self._wanted:
            raise HostKeyRefused(
                f"{self._device}: the host key is {fingerprint(key)}, not {self._wanted}",
                "Another machine answers, or the fingerprint was typed wrongly.",
                "Compare it with the one shown on the board by: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
            )
        self.accepted = (hostname, key)


def unknown_key(device: str, hostname: str, key: paramiko.PKey) -> HostKeyRefused:
    """Return the error for a host that nobody has vouched for."""
    return HostKeyRefused(
        f"{device}: the host key of {hostname} is not known ({key.get_name()} {fingerprint(key)})",
        "It is the first connection. The board shows it by: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        f"If they are the same: hilnas devices doctor {device} --accept-key {fingerprint(key)}",
    )


def changed_key(
    device: str, name: str, key: paramiko.PKey, expected: paramiko.PKey, files: Sequence[Path]
) -> HostKeyRefused:
    """Return the error for a host whose key is not the one that was known; `name` is its name in known_hosts."""
    ours = {path.absolute() for path in project_files()}
    stale = [
        path for path in readable(files) if path.absolute() not in ours and paramiko.HostKeys(str(path)).lookup(name)
    ]
    removal = "".join(f"ssh-keygen -R '{name}' -f {path}; then " for path in stale)
    return HostKeyRefused(
        f"{device}: the host key of {name} HAS CHANGED: now {fingerprint(key)}, it was {fingerprint(expected)}",
        "The board was installed anew, or another machine answers in its place.",
        f"If you know why: {removal}hilnas devices doctor {device} --accept-key {fingerprint(key)}",
    )
