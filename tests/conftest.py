"""What all tests share: the `--slow` flag, the folder with the reference data, a real sshd on loopback."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from devices._config import DeviceConfig

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Return the folder with the reference data; skip where it is absent."""
    folder = Path(os.environ.get("HILNAS_REFERENCE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no reference data: {folder} is no folder (HILNAS_REFERENCE_DATA names it)")
    return folder


@pytest.fixture(scope="module")
def one_thread():
    """Let torch use one thread: small networks run no faster on more, and far slower beside other work."""
    from searchers._torch import one_thread as limited

    with limited():
        yield


class LoopbackSshd:
    """A real sshd on a free port of 127.0.0.1, for the user who runs the tests; its folder is the board's home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.port = _free_port()
        self.identity = _new_key(folder / "client")
        self.known_hosts = folder / "known_hosts"
        self.change_host_key()
        (folder / "authorized").write_text((folder / "client.pub").read_text())
        self._write_config()
        self._process: subprocess.Popen[bytes] | None = None

    def change_host_key(self, known: bool = True) -> None:
        """Make a new host key; trusted when `known`."""
        for path in self.folder.glob("host*"):
            path.unlink()
        public = _new_key(self.folder / "host").with_suffix(".pub").read_text().split()
        if known:
            self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public[0]} {public[1]}\n")

    def start(self) -> None:
        """Start it and wait for its banner."""
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        command = [_SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True)
        log.close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    if probe.recv(4) == b"SSH-":
                        return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError((self.folder / "log").read_text()[-500:])

    def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._process is not None:
            family = _descendants(self._process.pid)
            self._process.terminate()
            self._process.wait()
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            self._process = None

    def cut(self) -> None:
        """Kill the connections that stand; new ones are let in."""
        assert self._process is not None
        for pid in _children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def config(self, name: str = "loop", kind: str = "ssh_linux", **values: Any) -> DeviceConfig:
        """Return the config of this board."""
        from devices._config import parse_config

        ssh = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": pwd.getpwuid(os.getuid()).pw_name,
            "identity": str(self.identity),
            "config": str(self.folder / "ssh_config"),
            "python": sys.executable,
            "patience_s": 20.0,
            **values.pop("ssh", {}),
        }
        return parse_config({"name": name, "kind": kind, "ssh": ssh, **values}, "test")

    def _write_config(self) -> None:
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder}/authorized\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nUsePAM no\nStrictModes no\n"
            f"Subsystem sftp internal-sftp -d {self.home}\nMaxStartups 50\nMaxSessions 50\n"
        )
        (self.folder / "ssh_config").write_text(f"Host *\n  UserKnownHostsFile {self.known_hosts}\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _new_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
    return found


def _descendants(pid: int) -> list[int]:
    return [item for child in _children(pid) for item in (child, *_descendants(child))]


_SSHD = "/usr/sbin/sshd"


@pytest.fixture(scope="session")
def sshd(tmp_path_factory) -> LoopbackSshd:
    """Give a running loopback sshd; skip where OpenSSH's server is not installed."""
    if not Path(_SSHD).exists():
        pytest.skip("no sshd: install openssh-server")
    board = LoopbackSshd(tmp_path_factory.mktemp("sshd"))
    board.start()
    yield board
    board.stop()


@pytest.fixture
def own_sshd(tmp_path) -> LoopbackSshd:
    """Give a loopback sshd that a test may do anything to."""
    if not Path(_SSHD).exists():
        pytest.skip("no sshd: install openssh-server")
    board = LoopbackSshd(tmp_path)
    board.start()
    yield board
    board.stop()
