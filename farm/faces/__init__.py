"""What kinds of boards look like: one module a face, found by its file name; their commands in `programs/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from hilnas.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link in a tree of files."""

    target: str


Tree = Mapping[str, "str | Link"]


@dataclass(frozen=True, slots=True)
class Face:
    """What a board shows of itself: the files and commands by which its kind is known.

    `kind` is that of its device config. `sys` is the tree below /sys (None: the machine's own, read-only), made anew at
    every boot; `files` are written to the disk once; `programs` are files of `programs/` by their place on the board.
    `throttle` changes the tree below /sys the way a throttling board does; `at_boot` is a command that root runs at
    every boot. `aarch64` asks for an emulated userland.
    """

    name: str
    kind: str
    description: str
    cpuinfo: str = ""
    sys: Tree | None = None
    files: Tree = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    throttle: Callable[[Path, bool], None] | None = None
    at_boot: tuple[str, ...] = ()
    aarch64: bool = False


def names() -> list[str]:
    """Return the names of all faces."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def load(name: str) -> Face:
    """Return a face; raise UnknownName when there is none of that name."""
    if name not in names():
        raise UnknownName("face", name, names())
    face = import_module(f"farm.faces.{name}").FACE
    assert isinstance(face, Face)
    return face


def write_tree(tree: Tree, root: Path) -> None:
    """Write files and links below a folder; everybody may read them, root alone may write."""
    for place, content in tree.items():
        path = root / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.symlink_to(content.target)
        else:
            path.write_text(content)


PROGRAMS = Path(__file__).parent / "programs"
