"""A family of networks as a TOML file describes it: a function that builds them, and the axes it is called with.

    build = "my_models.mobile:build"     # called as build(**axes); returns an nn.Module, or (module, input_shape)
    input_shape = [1, 3, "resolution", "resolution"]
    valid = "my_models.mobile:fits"      # optional: called as fits(**axes); what it refuses is outside the family

    [axes]
    width = [16, 24, 32]
    depth = [2, 3, 4]
    resolution = [96, 128, 160]

    [[invalid]]                          # optional: every combination that agrees with it is outside the family
    width = 32
    depth = [3, 4]

`build` is looked for in the folder of the file and in the current directory first.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from hilnas.errors import BadFile, UnknownName, UsageError
from hilnas.records import canonical_json

#: What an axis may hold.
Value = bool | int | float | str

_KEYS = ("axes", "build", "input_shape", "invalid", "valid")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_TEXT = re.compile(r"[A-Za-z0-9_.+-]+")
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Family:
    """A family; `axes` keep the order of the file, which is that of the decisions.

    An empty `input_shape` means that `build` says it; an entry may be the name of an axis. `invalid` holds what is
    outside: axis -> values, all of which must agree. `folder` is where `build` is looked for, relative to the current
    directory where it lies inside of it.
    """

    build: str
    axes: Mapping[str, tuple[Value, ...]]
    input_shape: tuple[int | str, ...] = ()
    invalid: tuple[Mapping[str, tuple[Value, ...]], ...] = ()
    valid: str = ""
    folder: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """Return the family as a JSON value from which `parse_options` makes it again; lists keep the axes' order."""
        return {
            "build": self.build,
            "axes": [[name, list(values)] for name, values in self.axes.items()],
            "input_shape": list(self.input_shape),
            "invalid": [{name: list(values) for name, values in item.items()} for item in self.invalid],
            "valid": self.valid,
            "folder": self.folder,
        }

    @cached_property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """Return axis -> its values as they are written in an architecture."""
        return {name: tuple(map(value_text, values)) for name, values in self.axes.items()}

    def values(self, decisions: tuple[int, ...]) -> dict[str, Value]:
        """Return what `build` is called with."""
        return {name: values[i] for (name, values), i in zip(self.axes.items(), decisions, strict=True)}

    def excluded(self, values: Mapping[str, Value]) -> bool:
        """Return whether an `invalid` entry agrees with the values."""
        return any(all(_among(values[name], out) for name, out in item.items()) for item in self.invalid)

    def shape(self, values: Mapping[str, Value]) -> tuple[int, ...]:
        """Return the input shape, () where `build` says it."""
        return tuple(int(values[item]) if isinstance(item, str) else item for item in self.input_shape)


def read_family(path: Path) -> Family:
    """Return the family of a TOML file; raise BadFile, UnknownName or UsageError for one that makes no sense."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadFile(f"{path} is larger than {_MAX_BYTES} bytes", "This is no family of networks.")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}", "", _EXAMPLE) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} is no TOML file: {error}", "", _EXAMPLE) from error
    unknown = next((key for key in content if key not in _KEYS), None)
    if unknown is not None:
        raise UnknownName(f"key of {path}", unknown, _KEYS)
    for key in ("build", "axes"):
        if key not in content:
            raise BadFile(f"{path} has no {key!r}", "", _EXAMPLE)
    if not isinstance(content["axes"], dict):
        raise BadFile(f"{path}: axes must be a table", "", "Write [axes], then a line such as width = [16, 24, 32]")
    return _checked({**content, "axes": list(content["axes"].items()), "folder": _folder(path)}, str(path))


def parse_options(options: Mapping[str, Any]) -> Family:
    """Return the family of `Family.options`; raise UsageError for another value."""
    return _parsed(canonical_json(dict(options)))


@lru_cache(maxsize=64)
def _parsed(text: str) -> Family:
    return _checked(json.loads(text), "parametric")


def value_text(value: Value) -> str:
    """Return a value as it is written in an architecture."""
    return str(value).lower() if isinstance(value, bool) else str(value)


_EXAMPLE = 'A family has: build = "package.module:function" and, under [axes], lines such as width = [16, 24, 32]'


def _folder(path: Path) -> str:
    """Return the folder of a file, relative to the current directory where it lies inside: a project may be moved."""
    folder, here = path.resolve().parent, Path.cwd().resolve()
    if folder == here:
        return ""
    return folder.relative_to(here).as_posix() if folder.is_relative_to(here) else str(folder)


def _checked(content: Mapping[str, Any], where: str) -> Family:
    axes = _axes(content["axes"], where)
    return Family(
        build=_target(content["build"], "build", where),
        axes=axes,
        input_shape=_input_shape(content.get("input_shape") or [], axes, where),
        invalid=_invalid(content.get("invalid") or [], axes, where),
        valid=_target(content["valid"], "valid", where) if content.get("valid") else "",
        folder=str(content.get("folder", "")),
    )


def _target(text: Any, key: str, where: str) -> str:
    if not isinstance(text, str) or not _TARGET.fullmatch(text):
        raise UsageError(f"{where}: {key} = {text!r} names no function", "", f'Write {key} = "package.module:function"')
    return text


def _axes(pairs: Any, where: str) -> dict[str, tuple[Value, ...]]:
    if not isinstance(pairs, list) or not pairs or not all(isinstance(i, (list, tuple)) and len(i) == 2 for i in pairs):
        raise UsageError(f"{where}: there are no axes", "", "Name at least one under [axes]: width = [16, 24, 32]")
    axes = {str(name): _axis(str(name), values, where) for name, values in pairs}
    if len(axes) < len(pairs):
        raise UsageError(f"{where}: an axis is named twice: {', '.join(str(name) for name, _ in pairs)}")
    return axes


def _axis(name: str, values: Any, where: str) -> tuple[Value, ...]:
    if not name.isidentifier():
        raise UsageError(f"{where}: the axis {name!r} is no name of an argument")
    if not isinstance(values, list) or not values:
        raise UsageError(f"{where}: the axis {name} has no values", "", f"Write a list: {name} = [16, 24, 32]")
    for value in values:
        _check_value(name, value, where)
    texts = [value_text(value) for value in values]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise UsageError(f"{where}: the axis {name} holds {twice} twice", "Two values must read differently.")
    return tuple(values)


def _check_value(name: str, value: Any, where: str) -> None:
    if not isinstance(value, (bool, int, float, str)):
        raise UsageError(f"{where}: the axis {name} holds {value!r}", "Axes hold numbers, true, false and words.")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where}: the axis {name} holds {value}, which is not finite")
    if isinstance(value, str) and not _TEXT.fullmatch(value):
        raise UsageError(
            f"{where}: the axis {name} holds {value!r}", "A word has letters, digits and the signs _ . + - alone."
        )


def _input_shape(shape: Any, axes: Mapping[str, tuple[Value, ...]], where: str) -> tuple[int | str, ...]:
    example = 'Write for instance input_shape = [1, 3, 224, 224] or [1, 3, "resolution", "resolution"]'
    if not isinstance(shape, list):
        raise UsageError(f"{where}: input_shape = {shape!r} is no list", "", example)
    for item in shape:
        if isinstance(item, str) and item not in axes:
            raise UnknownName(f"axis in the input_shape of {where}", item, axes)
        sizes = axes[item] if isinstance(item, str) else (item,)
        if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
            raise UsageError(f"{where}: input_shape holds {item!r}, which is no positive whole number", "", example)
    return tuple(shape)


def _invalid(
    items: Any, axes: Mapping[str, tuple[Value, ...]], where: str
) -> tuple[Mapping[str, tuple[Value, ...]], ...]:
    if not isinstance(items, list) or not all(isinstance(item, dict) and item for item in items):
        raise UsageError(f"{where}: invalid is no list of tables", "", "Write [[invalid]], then: width = 32")
    return tuple({name: _excluded(name, out, axes, where) for name, out in item.items()} for item in items)


def _excluded(name: str, out: Any, axes: Mapping[str, tuple[Value, ...]], where: str) -> tuple[Value, ...]:
    if name not in axes:
        raise UnknownName(f"axis in an [[invalid]] of {where}", name, axes)
    values = tuple(out) if isinstance(out, list) else (out,)
    for value in values:
        if not _among(value, axes[name]):
            known = ", ".join(map(value_text, axes[name]))
            raise UsageError(
                f"{where}: [[invalid]] names {name} = {value!r}, which the axis lacks", f"It has: {known}."
            )
    return values


def _among(value: Value, values: tuple[Value, ...]) -> bool:
    """Return whether a value is one of these, 1, 1.0 and true being three."""
    return any(value == item and type(value) is type(item) for item in values)
