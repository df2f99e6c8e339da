"""What is known of a board, kept beside it as a file: any process of the machine can act on it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from farm._cgroups import ControlGroup, Limits
from farm._host import STATE, Running, write
from farm._network import Link

FARMS = STATE / "farms"
_NO_OTHER = Limits()


@dataclass(frozen=True, slots=True)
class BoardState:
    """A board as it was asked for, and what runs of it."""

    farm: str
    name: str
    face: str
    link_index: int
    sudo: bool = False
    limits: Limits = _NO_OTHER
    disk: str = "256m"
    runtime: bool = True
    container: bool = False
    outer: Running | None = None
    init: Running | None = None
    wire: Running | None = None
    is_cut: bool = False

    @property
    def folder(self) -> Path:
        """Return the folder of everything that belongs to the board."""
        return FARMS / self.farm / self.name

    @property
    def control(self) -> Path:
        """Return the folder that the board sees as /etc/farm."""
        return self.folder / "control"

    @property
    def disk_folder(self) -> Path:
        """Return where the board's disk is mounted."""
        return self.folder / "disk"

    @property
    def sys_folder(self) -> Path:
        """Return the tree that the board sees as /sys, where its face has one."""
        return self.folder / "sys"

    @property
    def label(self) -> str:
        """Return the name of the board's namespace and control groups."""
        return f"hilnas-farm.{self.farm}.{self.name}"

    @property
    def link(self) -> Link:
        """Return its link."""
        return Link(self.link_index, self.label)

    @property
    def group(self) -> ControlGroup:
        """Return its control groups."""
        return ControlGroup(self.label)

    @property
    def is_on(self) -> bool:
        """Say whether it runs."""
        return self.init is not None and self.init.alive

    def save(self) -> None:
        """Write the file."""
        write(self.folder / "board.json", json.dumps(asdict(self), indent=1) + "\n")

    def changed(self, **values: Any) -> BoardState:
        """Return it with other values, saved."""
        state = replace(self, **values)
        state.save()
        return state


def load_state(folder: Path) -> BoardState:
    """Return what is known of the board in a folder."""
    values = json.loads((folder / "board.json").read_text())
    for name in ("outer", "init", "wire"):
        values[name] = Running(**values[name]) if values[name] else None
    values["limits"] = Limits(**values["limits"])
    return BoardState(**{field.name: values[field.name] for field in fields(BoardState)})
