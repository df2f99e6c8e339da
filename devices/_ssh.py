"""One SSH connection to a board: where it goes, how it is opened, commands and files through it."""

from __future__ import annotations

import contextlib
import shlex
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from devices._config import SshOptions
from devices._errors import AgentLost, LoginRefused, Unreachable
from devices._host_keys import (
    SYSTEM_FILE,
    USER_FILE,
    RefuseUnknown,
    changed_key,
    entry_name,
    project_files,
    readable,
)
from devices._link import ConnectionLost
from devices._untrusted import plain_text
from devices.agent._wire import Closed, Lines
from hilnas.deadline import Deadline
from hilnas.errors import BadFile, DeviceError, UsageError

_MAX_OUTPUT = 4 * 2**20
_MAX_JUMPS = 4


@dataclass(frozen=True, slots=True)
class Address:
    """Where a board is, the user's SSH configuration taken into account."""

    host: str
    port: int
    user: str | None
    identities: tuple[str, ...]
    identities_only: bool
    known_hosts: tuple[Path, ...]
    proxy_command: str | None
    jump: Address | None
    #: A peer that acknowledges nothing for this long has gone; without it a cut cable is never noticed.
    peer_timeout_s: float = 15.0


def resolve(options: SshOptions, jumps: int = 0) -> Address:
    """Return the address of a config's `[ssh]` table; raise UsageError without a host, BadFile for a bad config."""
    if not options.host:
        raise UsageError("the device config names no host", "", 'Add to it: [ssh] host = "..."')
    found = _ssh_config(Path(options.config).expanduser()).lookup(options.host)
    files = [*project_files(), *map(Path, found.get("userknownhostsfile", "").split()), USER_FILE, SYSTEM_FILE]
    identities = [options.identity] if options.identity else list(found.get("identityfile", []))
    return Address(
        host=str(found.get("hostname", options.host)),
        port=options.port or int(found.get("port", 22)),
        user=options.user or found.get("user"),
        identities=tuple(str(Path(name).expanduser()) for name in identities),
        identities_only=bool(options.identity) or found.get("identitiesonly", "no") == "yes",
        known_hosts=tuple(files),
        proxy_command=found.get("proxycommand") if found.get("proxycommand") != "none" else None,
        jump=_jump(str(found.get("proxyjump", "none")), options, jumps),
        peer_timeout_s=options.peer_timeout_s,
    )


def _jump(text: str, options: SshOptions, jumps: int) -> Address | None:
    if text == "none":
        return None
    if "," in text or jumps >= _MAX_JUMPS:
        raise UsageError(
            f"more than one jump host at a time is not supported: {text}", "", "Give each jump host its own ProxyJump."
        )
    user, _, place = text.removeprefix("ssh://").rpartition("@")
    host, _, port = place.partition(":")
    through = options.model_copy(
        update={"host": host, "user": user or None, "port": int(port) if port.isdigit() else None, "identity": None}
    )
    return resolve(through, jumps + 1)


def _ssh_config(path: Path) -> paramiko.SSHConfig:
    if not path.exists():
        return paramiko.SSHConfig()
    try:
        return paramiko.SSHConfig.from_path(str(path))
    except (OSError, UnicodeDecodeError, paramiko.ssh_exception.ConfigParseError) as error:
        raise BadFile(f"{path} cannot be read as an SSH configuration: {error}") from error


@dataclass(frozen=True, slots=True)
class Completed:
    """The end of a command: its status (-1: killed), and what it has printed."""

    status: int
    output: bytes
    errors: str


class Connection:
    """An open connection; every wait in it is limited."""

    def __init__(self, device: str, address: Address, client: paramiko.SSHClient, through: Connection | None) -> None:
        self._device = device
        self._address = address
        self._client = client
        self._through = through
        self._sftp: paramiko.SFTPClient | None = None

    @property
    def alive(self) -> bool:
        """Return whether the connection is believed to stand."""
        transport = self._client.get_transport()
        return transport is not None and transport.is_active()

    def start(self, argv: Sequence[str]) -> ChannelLines:
        """Start a command that speaks JSON lines."""
        with translated_ssh(self._device, self._address):
            channel = self._channel(self._address.peer_timeout_s)
            channel.exec_command(shell_words(argv))
            return ChannelLines(channel, 2 * self._address.peer_timeout_s)

    def run(self, argv: Sequence[str], deadline: Deadline, data: bytes = b"") -> Completed:
        """Run a command to its end; raise Unreachable or AgentLost when it does not end in time."""
        with translated_ssh(self._device, self._address):
            channel = self._channel(min(deadline.remaining(), self._address.peer_timeout_s))
            with contextlib.closing(channel):
                channel.settimeout(max(0.1, deadline.remaining()))
                channel.exec_command(shell_words(argv))
                channel.sendall(data)
                channel.shutdown_write()
                output = _read_all(channel.recv)
                errors = _read_all(channel.recv_stderr)
                if not channel.status_event.wait(deadline.remaining()):
                    raise AgentLost(f"{self._device}: {argv[0]} does not end in time")
                if not self.alive:
                    raise EOFError("the connection was lost")
                return Completed(channel.exit_status, output, plain_text(errors.decode("utf-8", "replace"), 2000))

    @contextmanager
    def files(self) -> Iterator[paramiko.SFTPClient]:
        """Give the file transfer of this connection; its errors become DeviceErrors."""
        with translated_ssh(self._device, self._address):
            if self._sftp is None:
                self._sftp = self._client.open_sftp()
                channel = self._sftp.get_channel()
                if channel is not None:
                    channel.settimeout(2 * self._address.peer_timeout_s)
            yield self._sftp

    def close(self) -> None:
        """Close it, and the jump host's after it."""
        self._client.close()
        if self._through is not None:
            self._through.close()

    def forward(self, address: Address) -> Any:
        """Return a channel through this host to another one."""
        transport = self._client.get_transport()
        assert transport is not None
        return transport.open_channel("direct-tcpip", (address.host, address.port), ("127.0.0.1", 0))

    def _channel(self, timeout_s: float) -> paramiko.Channel:
        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            raise EOFError("the connection was lost")
        return transport.open_session(timeout=max(0.1, timeout_s))


def connect(
    device: str, address: Address, timeout_s: float, policy: paramiko.MissingHostKeyPolicy | None = None
) -> Connection:
    """Return an open connection; raise Unreachable, HostKeyRefused or LoginRefused."""
    through = connect(device, address.jump, timeout_s) if address.jump is not None else None
    client = paramiko.SSHClient()
    client.set_log_channel("hilnas.ssh")
    client.set_missing_host_key_policy(policy or RefuseUnknown(device))
    for path in readable(address.known_hosts):
        client.load_system_host_keys(str(path))
    try:
        with translated_ssh(device, address):
            client.connect(
                address.host,
                address.port,
                address.user,
                key_filename=[name for name in address.identities if Path(name).exists()] or None,
                allow_agent=not address.identities_only,
                look_for_keys=not address.identities,
                sock=_socket(address, through, timeout_s),
                timeout=timeout_s,
                banner_timeout=timeout_s,
                auth_timeout=timeout_s,
                channel_timeout=timeout_s,
            )
    except DeviceError:
        client.close()
        if through is not None:
            through.close()
        raise
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(max(1, int(address.peer_timeout_s / 3)))
    return Connection(device, address, client, through)


def _socket(address: Address, through: Connection | None, timeout_s: float) -> Any:
    if through is not None:
        return through.forward(address)
    if address.proxy_command:
        return paramiko.ProxyCommand(address.proxy_command)
    found = socket.create_connection((address.host, address.port), timeout_s)
    # Without it every small message waits 40 ms for its acknowledgement.
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * address.peer_timeout_s))
    return found


def shell_words(argv: Sequence[str]) -> str:
    """Return an argument list as the one string that SSH sends; the only place where anything is quoted.

    Raises UsageError for a word with a NUL or a line break, which no shell can be trusted with.
    """
    for word in argv:
        if any(char in word for char in "\0\n\r"):
            raise UsageError(f"not a word of a command: {word!r}")
    return shlex.join(argv)


class ChannelLines(Lines):
    """JSON lines over a channel; tells a lost connection from a program that has ended."""

    def __init__(self, channel: paramiko.Channel, write_timeout_s: float) -> None:
        super().__init__()
        self._channel = channel
        self._write_timeout_s = write_timeout_s
        self._errors = b""

    def read(self, timeout_s: float | None) -> bytes | None:
        """Return what has come; raise ConnectionLost when the connection has gone."""
        self._drain_errors()
        self._channel.settimeout(timeout_s)
        try:
            chunk = self._channel.recv(65536)
        except TimeoutError:
            return None
        if not chunk:
            raise self._gone()
        return bytes(chunk)

    def write(self, data: bytes) -> None:
        """Send; raise Closed or ConnectionLost."""
        self._channel.settimeout(self._write_timeout_s)
        try:
            self._channel.sendall(data)
        except OSError:  # closed, or a window that stays full
            raise self._gone() from None

    def wait(self, timeout_s: float) -> None:
        """End the program's input, wait until it has ended, and close."""
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()
        self._channel.status_event.wait(timeout_s)
        self._channel.close()

    def _gone(self) -> Closed:
        transport = self._channel.get_transport()
        # paramiko ends its channels a moment before it calls the connection inactive.
        for _ in range(20):
            if transport is None or not transport.is_active():
                return ConnectionLost("nothing comes from the board any more")
            if self._channel.exit_status_ready() and self._channel.exit_status != -1:
                break
            time.sleep(0.02)
        self._drain_errors()
        said = plain_text(self._errors.decode("utf-8", "replace")[-500:])
        return Closed(f"the program ended with status {self._channel.exit_status}; it said: {said or 'nothing'}")

    def _drain_errors(self) -> None:
        """Take what the program complains about: a full window would stop it."""
        while self._channel.recv_stderr_ready():
            chunk = self._channel.recv_stderr(65536)
            if not chunk:
                return
            self._errors = (self._errors + chunk)[-4096:]


@contextmanager
def translated_ssh(device: str, address: Address) -> Iterator[None]:
    """Turn the errors of paramiko and of sockets into DeviceErrors that name the device and say what to do."""
    place = f"{address.host}:{address.port}"
    try:
        yield
    except paramiko.BadHostKeyException as error:
        name = entry_name(address.host, address.port)
        raise changed_key(device, name, error.key, error.expected_key, address.known_hosts) from error
    except paramiko.PasswordRequiredException as error:
        raise LoginRefused(
            f"{device}: the private key needs its passphrase", "No password is ever read from a file.", "Run: ssh-add"
        ) from error
    except paramiko.AuthenticationException as error:
        who = address.user or "you"
        raise LoginRefused(
            f"{device}: {place} does not let {who} in",
            "Its authorized_keys lacks your public key, or the user name is another.",
            f"Try: ssh-copy-id -p {address.port} {who}@{address.host}",
        ) from error
    except (paramiko.SSHException, EOFError) as error:
        text = plain_text(str(error), 200) or type(error).__name__
        raise Unreachable(f"{device}: the connection to {place} failed: {text}", "", _LOOK.format(device)) from error
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        text = plain_text(error.strerror or str(error) or type(error).__name__, 200)
        raise Unreachable(
            f"{device}: {place} cannot be reached: {text}",
            "It is switched off, or the network is down.",
            _LOOK.format(device),
        ) from error


def _read_all(read: Any) -> bytes:
    found = b""
    while len(found) <= _MAX_OUTPUT:
        chunk = read(65536)
        if not chunk:
            return found
        found += chunk
    raise EOFError("the command prints without end")


_LOOK = "Run: hilnas devices doctor {}"
