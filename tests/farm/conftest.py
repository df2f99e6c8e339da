"""Boards that the tests of the farm share, and a way into them; skipped where there can be none."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import paramiko
import pytest

from farm import Board, Farm, FarmUnavailable, why_unavailable


@dataclass(frozen=True)
class Answer:
    """What a command on a board has said."""

    status: int
    output: str
    errors: str


class Login:
    """One connection as the board's user, its host key checked."""

    def __init__(self, board: Board, timeout_s: float = 10.0) -> None:
        self._client = paramiko.SSHClient()
        self._client.load_host_keys(str(board.known_hosts))
        peer = socket.create_connection((board.address, board.port), timeout_s)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._client.connect(
                board.address,
                username=board.user,
                key_filename=str(board.identity),
                sock=peer,
                allow_agent=False,
                look_for_keys=False,
                banner_timeout=timeout_s,
            )
        except BaseException:
            peer.close()
            raise

    def run(self, command: str, timeout_s: float = 60.0) -> Answer:
        """Run a command line to its end."""
        _, output, errors = self._client.exec_command(command, timeout=timeout_s)
        texts = output.read().decode("utf-8", "replace"), errors.read().decode("utf-8", "replace")
        return Answer(output.channel.recv_exit_status(), *texts)

    def files(self) -> paramiko.SFTPClient:
        """Open the file transfer."""
        return self._client.open_sftp()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@contextmanager
def logged_in(board: Board) -> Iterator[Login]:
    login = Login(board)
    try:
        yield login
    finally:
        login.close()


@pytest.fixture(scope="session")
def login() -> Callable[[Board], object]:
    """Give a context manager that logs in on a board."""
    return logged_in


@pytest.fixture(scope="session")
def needs_farm() -> None:
    """Skip where there can be no boards, and say what is missing."""
    reason = why_unavailable()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_farm(needs_farm) -> Iterator[Farm]:
    with Farm() as farm:
        yield farm


@pytest.fixture(scope="session")
def pi(shared_farm) -> Board:
    """Give a Pi 5 without sudo; a test that changes it changes it back."""
    return _with_runtime(shared_farm, "pi", face="pi5")


@pytest.fixture(scope="session")
def orin(shared_farm) -> Board:
    """Give an Orin Nano with sudo."""
    return _with_runtime(shared_farm, "orin", face="orin_nano", sudo=True)


def _with_runtime(farm: Farm, name: str, **options: object) -> Board:
    try:
        return farm.add(name, **options)
    except FarmUnavailable as error:  # another Python than the machine's own, or no sudo
        pytest.skip(str(error))


@pytest.fixture
def farm(needs_farm) -> Iterator[Farm]:
    """Give a farm that a test may do anything to."""
    with Farm() as farm:
        yield farm
