"""Agents on a board: pushed there under their content hash, started over SSH, given models whole or by recipe."""

from __future__ import annotations

import contextlib
import posixpath
import secrets
from pathlib import Path

from devices._config import DeviceConfig
from devices._errors import AgentLost, BoardFull
from devices._lease import owner_name
from devices._link import Link
from devices._package import packed_agent
from devices._ssh import ChannelLines, Completed, Connection, connect, resolve
from devices.agent._wire import Lines
from hilnas.deadline import Deadline
from hilnas.records import Artifact

_FOLDER = ".cache/hilnas"
_END_S = 10.0
_COPY_S = 120.0

#: Runs an agent only if it is what was sent; the board's Python may be too old to read it.
_BOOT = """
import hashlib, runpy, sys
path, digest = sys.argv[1:3]
if sys.version_info < (3, 6):
    sys.exit("Python 3.6 or newer is needed, this is " + sys.version.split()[0])
with open(path, "rb") as file:
    if hashlib.sha256(file.read()).hexdigest() != digest:
        sys.exit("the agent on the board is damaged")
sys.argv[:] = [path]
runpy.run_path(path, run_name="__main__")
"""
#: Writes what comes on stdin to a file, for places that file transfer does not reach.
_RECEIVE = """
import os, shutil, sys
path = sys.argv[1]
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path + ".part", "wb") as file:
    shutil.copyfileobj(sys.stdin.buffer, file)
os.replace(path + ".part", path)
"""
_HOME = "import os; print(os.path.expanduser('~'))"


class BoardLink(Link):
    """The agents of one session on one board."""

    shares_files = False

    def __init__(self, config: DeviceConfig, lease: bool = True) -> None:
        self._config = config
        self._options = config.ssh
        self.ahead = self._options.ahead
        self.patience_s = self._options.patience_s
        self.claim = {
            "owner": owner_name(),
            "lease": lease,
            "lease_s": self._options.lease_s,
            "power": config.power.wanted() if lease else {},
            "sensors": {"command": config.meter.model_dump(mode="json")} if config.meter.argv else {},
        }
        self._connection: Connection | None = None
        self._home = ""
        self._lines: ChannelLines | None = None
        self._sure_of_agent = False

    def start(self, deadline: Deadline) -> Lines:
        """Return the line to a fresh agent, over a new connection where the old one has gone."""
        connection = self._connected(deadline)
        digest, data = packed_agent()
        path = f"{self._home}/agent/{digest}.pyz"
        self._send_agent(connection, path, data, deadline)
        self._lines = connection.start(self._python("-c", _BOOT_LINE, path, digest))
        return self._lines

    def upload(self, artifact: Artifact, folder: str, name: str) -> None:
        """Put a model into a folder of the board."""
        assert artifact.path is not None
        self.put(Path(artifact.path), f"{folder}/{name}")

    def put(self, source: Path, path: str) -> None:
        """Copy a local file to the board; raise BoardFull or Unreachable."""
        connection = self._connected(Deadline.after(_COPY_S))
        if self._options.container:
            self._need_ok(
                connection.run(self._python("-c", _RECEIVE_LINE, path), Deadline.after(_COPY_S), source.read_bytes())
            )
            return
        with connection.files() as files:
            self._make_folder(connection, posixpath.dirname(path))
            try:
                files.put(str(source), path, confirm=True)
            except OSError as error:
                if str(error) == "Failure":  # all that the protocol says of a full disk
                    raise self._full() from error
                raise

    def run(self, argv: list[str], deadline: Deadline) -> Completed:
        """Run a command on the board, inside the container where there is one."""
        return self._connected(deadline).run([*self._inside(), *argv], deadline)

    def home(self, deadline: Deadline) -> str:
        """Return the agent's own folder on the board."""
        self._connected(deadline)
        return self._home

    def close(self) -> None:
        """Wait for the agent's end and close the connection."""
        if self._lines is not None and self._connection is not None and self._connection.alive:
            self._lines.wait(_END_S)
        if self._connection is not None:
            self._connection.close()
        self._connection = self._lines = None

    def _connected(self, deadline: Deadline) -> Connection:
        if self._connection is not None and not self._connection.alive:
            self._connection.close()
            self._connection = None
        if self._connection is None:
            timeout_s = max(0.1, min(self._options.connect_timeout_s, deadline.remaining()))
            self._connection = connect(self._config.name, resolve(self._options), timeout_s)
            self._sure_of_agent = False
            self._home = self._find_home(self._connection, deadline)
        return self._connection

    def _find_home(self, connection: Connection, deadline: Deadline) -> str:
        if self._options.container:
            done = connection.run(self._python("-c", _HOME), deadline.sooner(60.0))
            self._need_ok(done)
            home = done.output.decode("utf-8", "replace").strip()
        else:
            with connection.files() as files:
                home = files.normalize(".")
        if not posixpath.isabs(home) or not home.isprintable():
            raise AgentLost(f"{self._config.name}: the board names no home folder", f"It says {home[:100]!r}.")
        return posixpath.join(home, _FOLDER)

    def _send_agent(self, connection: Connection, path: str, data: bytes, deadline: Deadline) -> None:
        """Send the agent unless the board has it; its hash is checked by every start."""
        if self._sure_of_agent:
            self._sure_of_agent = False  # asked for again because it did not work: send it once more
        elif self._options.container is None:
            with connection.files() as files, contextlib.suppress(FileNotFoundError):
                if files.stat(path).st_size == len(data):
                    self._sure_of_agent = True
                    return
        if self._options.container:
            self._need_ok(connection.run(self._python("-c", _RECEIVE_LINE, path), deadline.sooner(_COPY_S), data))
        else:
            self._write_agent(connection, path, data)
        self._sure_of_agent = True

    def _write_agent(self, connection: Connection, path: str, data: bytes) -> None:
        part = f"{path}.{secrets.token_hex(8)}.part"
        with connection.files() as files:
            self._make_folder(connection, posixpath.dirname(path))
            try:
                with files.open(part, "wb") as file:
                    file.write(data)
                files.posix_rename(part, path)
            except OSError as error:
                if str(error) == "Failure":
                    raise self._full() from error
                raise

    def _make_folder(self, connection: Connection, folder: str) -> None:
        with connection.files() as files:
            missing = []
            while len(folder) > 1:
                try:
                    files.stat(folder)
                    break
                except FileNotFoundError:
                    missing.append(folder)
                    folder = posixpath.dirname(folder)
            for item in reversed(missing):
                files.mkdir(item, 0o700)

    def _python(self, *arguments: str) -> list[str]:
        # -I: neither the user's site nor the working folder; -B: no .pyc files beside the agent.
        return [*self._inside(), "env", "LC_ALL=C", self._options.python, "-I", "-u", "-B", *arguments]

    def _inside(self) -> list[str]:
        return ["docker", "exec", "-i", self._options.container] if self._options.container else []

    def _need_ok(self, done: Completed) -> None:
        if done.status == 0:
            return
        if "No space left" in done.errors:
            raise self._full()
        raise AgentLost(f"{self._config.name}: a command on the board failed ({done.status})", done.errors)

    def _full(self) -> BoardFull:
        return BoardFull(
            f"{self._config.name}: a file cannot be written on the board",
            "Its disk is probably full.",
            "Free some space there, then continue with: hilnas runs resume RUN",
        )


def _one_line(source: str) -> str:
    """Return a program as one word without line breaks."""
    return f"exec({source.strip()!r})"


_BOOT_LINE = _one_line(_BOOT)
_RECEIVE_LINE = _one_line(_RECEIVE)
