"""Device configs for the boards of a farm."""

from __future__ import annotations

import json
from pathlib import Path

from farm import faces
from farm._board import Board
from farm._farm import Farm
from farm._host import write


def write_configs(farm: Farm) -> Path:
    """Write a device config for every board and return their folder, which `hilnas --configs` takes."""
    folder = farm.folder / "device_configs"
    folder.mkdir(exist_ok=True)
    for board in farm.boards():
        write(folder / f"{board.name}.toml", device_config(board))
    return folder


def device_config(board: Board) -> str:
    """Return the text of a board's device config."""
    face = faces.load(board.state.face)
    lines = [
        f"kind = {json.dumps(face.kind)}",
        f"description = {json.dumps(face.description)}",
        "",
        "[ssh]",
        f"host = {json.dumps(board.name)}",
        f"config = {json.dumps(str(board.ssh_config))}",
    ]
    if board.state.container:
        lines.append('container = "ml"')
    return "\n".join(lines) + "\n"
