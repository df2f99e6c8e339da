"""Which wheels of a folder fit a board; nothing is downloaded and nothing of a wheel is run."""

from __future__ import annotations

import logging
import shlex
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag
from packaging.utils import BuildTag, InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from devices._wheel_tags import Board
from hilnas.errors import BadFile, DeviceError, UsageError

_LOG = logging.getLogger("hilnas.devices")
_MAX_FILES = 20_000
_MAX_METADATA_BYTES = 1 << 20
#: Backends whose runtime is a distribution of another name.
_DISTRIBUTIONS = {"litert": "ai-edge-litert", "onnxruntime_int8": "onnxruntime"}
#: Backends that no wheel brings.
_NO_WHEEL = {"trtexec": "trtexec is no Python package: it comes with TensorRT, on a Jetson with JetPack."}
#: The newest version a Python gets on aarch64 and x86_64; one that is not named gets the newest of all.
_NEWEST = {
    "onnxruntime": {(3, 6): "1.10.0", (3, 7): "1.14.1", (3, 8): "1.19.2", (3, 9): "1.19.2", (3, 10): "1.23.2"},
    "ai-edge-litert": {(3, 9): "2.1.0"},
    "openvino": {(3, 9): "2025.3.0"},
}


@dataclass(frozen=True)
class Choice:
    """Wheels to install, and distributions they ask for that are not in the folder."""

    paths: tuple[Path, ...]
    missing: tuple[str, ...]


def fitting_wheels(
    folder: Path, facts: Mapping[str, Any], wanted: Sequence[str] = ("onnxruntime", "numpy")
) -> list[Path]:
    """Return the wheels `choose_wheels` chooses, a line in the log for what they ask for and the folder lacks."""
    choice = choose_wheels(folder, facts, wanted)
    if choice.missing:
        _LOG.info("not in %s, and perhaps not needed: %s", folder, ", ".join(choice.missing))
    return list(choice.paths)


def choose_wheels(folder: Path, facts: Mapping[str, Any], wanted: Sequence[str] = ("onnxruntime", "numpy")) -> Choice:
    """Return the newest fitting wheel of each wanted distribution and of what these require, where it is there.

    Raises UsageError when a wanted distribution is missing or fits only other machines, BadFile for a file that is no
    wheel and DeviceError for facts that make no sense.
    """
    board = Board.of(facts)
    wheels = [_read(path) for path in sorted(folder.glob("*.whl"))]
    names = [_distribution(name) for name in wanted]
    needs = {name: SpecifierSet() for name in names}
    while True:
        chosen = {name: _best(wheels, name, needs[name], board) for name in needs}
        absent = [name for name, wheel in chosen.items() if wheel is None]
        for name in names:
            if name in absent:
                raise _misfit(folder, [wheel for wheel in wheels if wheel.name == name], name, needs[name], board)
        found = [wheel for wheel in chosen.values() if wheel is not None]
        # What was once asked for stays asked for, so that this ends.
        wider = dict(needs)
        for name, versions in (item for wheel in found for item in _required(wheel, board)):
            wider[name] = wider.get(name, SpecifierSet()) & versions
        if wider == needs:
            return Choice(tuple(wheel.path for wheel in found), tuple(sorted(absent)))
        needs = wider


def supported_tags(facts: Mapping[str, Any]) -> list[Tag]:
    """Return the tags of wheels that fit, best first; raise DeviceError for facts that make no sense."""
    return list(Board.of(facts).tags)


def advice(facts: Mapping[str, Any], runtime: str = "onnxruntime") -> str:
    """Return how to get a runtime onto a board that has no network: what fits, two commands. Never raises.

    `NAME` stands for the device.
    """
    if runtime in _NO_WHEEL:
        return _NO_WHEEL[runtime]
    try:
        board = Board.of(facts)
    except DeviceError as error:
        return str(error)
    name = _distribution(runtime)
    newest = _NEWEST.get(name, {}).get(board.python)
    which = f"Python {board.text} gets {name} {newest} at most" if newest else f"{board} gets any {name} that fits"
    return f"{which}. Where there is a network:\n{_download(board, name, newest)}\nThen:\n{_INSTALL}"


_INSTALL = "hilnas devices add NAME --install-runtime wheels"


def _download(board: Board, name: str, newest: str | None) -> str:
    """Return the command that downloads a runtime; pip does not take an older platform for a newer one's sake."""
    command = ["pip", "download", "--only-binary=:all:", "--no-deps", "--implementation", "cp"]
    command += ["--python-version", board.text]
    command += [part for item in board.platforms for part in ("--platform", item)]
    return shlex.join([*command, "-d", "wheels", f"{name}<={newest}" if newest else name, "numpy"])


@dataclass(frozen=True)
class _Wheel:
    """What a wheel's name and METADATA say."""

    path: Path
    name: str
    version: Version
    build: BuildTag
    tags: frozenset[Tag]
    python: SpecifierSet
    requires: tuple[Requirement, ...]


def _read(path: Path) -> _Wheel:
    """Return what a wheel says; raise BadFile for what is none."""
    try:
        name, version, build, tags = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            raw, _ = parse_email(_metadata(archive, name))
        if canonicalize_name(raw.get("name", "")) != name or Version(raw.get("version", "")) != version:
            raise BadFile(f"{path.name}: its METADATA is of another wheel", "It was renamed or put together badly.")
        python = SpecifierSet(raw.get("requires_python", ""))
    except (InvalidWheelFilename, InvalidVersion, InvalidSpecifier, *_UNREADABLE) as error:
        raise BadFile(f"{path.name} is no wheel", str(error)[:200], "Download it again, or remove it.") from error
    return _Wheel(path, name, version, build, tags, python, _requirements(raw.get("requires_dist", [])))


def _metadata(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return METADATA; raise ValueError where it is missing or too large."""
    if len(archive.infolist()) > _MAX_FILES:
        raise ValueError(f"more than {_MAX_FILES} files")
    for info in archive.infolist():
        folder, _, file = info.filename.partition("/")
        if file == "METADATA" and folder.endswith(".dist-info") and canonicalize_name(folder.split("-")[0]) == name:
            if info.file_size > _MAX_METADATA_BYTES:
                raise ValueError("METADATA is too large")
            return archive.read(info)
    raise ValueError(f"no .dist-info/METADATA of {name}")


def _requirements(lines: Sequence[str]) -> tuple[Requirement, ...]:
    found = []
    for line in lines:
        try:
            found.append(Requirement(line))
        except InvalidRequirement:
            _LOG.debug("not understood: %r", line[:200])  # the form of a time before the standard
    return tuple(found)


def _required(wheel: _Wheel, board: Board) -> list[tuple[str, SpecifierSet]]:
    """Return what a wheel requires on this board, without its extras."""
    needed = [item for item in wheel.requires if item.marker is None or item.marker.evaluate(dict(board.markers))]
    return [(canonicalize_name(item.name), item.specifier) for item in needed]


def _best(wheels: Sequence[_Wheel], name: str, versions: SpecifierSet, board: Board) -> _Wheel | None:
    """Return the newest fitting wheel of a distribution, None where there is none."""
    ranks = {tag: -rank for rank, tag in enumerate(board.tags)}
    fitting = [wheel for wheel in wheels if wheel.name == name and not _objection(wheel, versions, board)]
    return max(
        fitting,
        key=lambda wheel: (
            not wheel.version.is_prerelease,
            wheel.version,
            max(ranks[tag] for tag in wheel.tags if tag in ranks),
            wheel.build,
        ),
        default=None,
    )


def _objection(wheel: _Wheel, versions: SpecifierSet, board: Board) -> str:
    """Return why a wheel cannot be taken, nothing where it can."""
    if wheel.tags.isdisjoint(board.tags):
        return f"is for {', '.join(sorted(map(str, wheel.tags))[:3])}"
    if not wheel.python.contains(board.version, prereleases=True):
        return f"needs Python {wheel.python}"
    return "" if versions.contains(wheel.version, prereleases=True) else f"is not {versions}, which another wheel needs"


def _misfit(folder: Path, wheels: Sequence[_Wheel], name: str, versions: SpecifierSet, board: Board) -> UsageError:
    """Return the error that says what is there instead and what would fit."""
    there = [f"{wheel.path.name} {_objection(wheel, versions, board)}" for wheel in wheels[:5]]
    best = next(iter(board.tags))
    return UsageError(
        f"no wheel of {name} in {folder} fits {board}",
        "; ".join([*there, f"{best} would fit, and so would its older platforms and py3-none-any"]) + ".",
        f"Where there is a network: {_download(board, name, _NEWEST.get(name, {}).get(board.python))}",
    )


def _distribution(name: str) -> str:
    return canonicalize_name(_DISTRIBUTIONS.get(name, name))


_UNREADABLE = (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, zlib.error)
