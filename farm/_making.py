"""Making a board: its disk, files, link and control groups; it is off afterwards."""

from __future__ import annotations

from farm import faces
from farm._board import Board
from farm._host import call, write
from farm._image import make_image
from farm._state import BoardState


def make_board(state: BoardState) -> Board:
    """Make what a board consists of; `remove` takes all of it away, however far this came."""
    state.save()
    for folder in (state.control / "bin", state.disk_folder, state.folder / "root"):
        folder.mkdir(parents=True, exist_ok=True)
    call("mount", "-t", "tmpfs", "-o", f"size={state.disk},mode=755", "hilnas-farm", str(state.disk_folder))
    for name in ("upper", "work"):
        (state.disk_folder / name).mkdir()
    make_image(state.disk_folder / "upper", state.name, faces.load(state.face), state.sudo, state.container)
    state.group.create(state.limits)
    state.link.create()
    board = Board(state.folder)
    write(state.control / "environment", "")
    board.change_host_key(known=True)
    board.refuse_login(False)
    board.hide_runtime(False)
    write(board.ssh_config, _ssh_config(board))
    return board


def _ssh_config(board: Board) -> str:
    return (
        f"Host {board.name}\n  HostName {board.address}\n  Port {board.port}\n  User {board.user}\n"
        f"  IdentityFile {board.identity}\n  IdentitiesOnly yes\n  UserKnownHostsFile {board.known_hosts}\n"
        "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
    )
