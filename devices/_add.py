"""Writing a new device config."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devices._config import DeviceConfig, config_folders, known_devices, parse_config
from hilnas import plugins
from hilnas.errors import UnknownName, UsageError

_URL = re.compile(r"ssh://(?:(?P<user>[^@/]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/@\[\]]+)(?::(?P<port>[0-9]{1,5}))?/?")


def new_config(name: str, target: str, kind: str | None, values: Mapping[str, Any]) -> DeviceConfig:
    """Return the validated config of a new device; `target` is a kind, or where a board is: `ssh://[user@]host[:port]`.

    A board without a `kind` is an `ssh_linux` until it has been looked at. Raises UnknownName for an unknown kind and
    UsageError for a name that is taken or no name.
    """
    ssh = _ssh(target) if "://" in target else None
    kind = kind or ("ssh_linux" if ssh else target)
    kinds = [item for item in plugins.names("devices") if item != "replay"]
    if kind not in kinds:
        raise UnknownName("kind", kind, kinds)
    given = {key: value for key, value in values.items() if value}
    if ssh:
        given["ssh"] = {**ssh, **given.get("ssh", {})}
    return parse_config({"name": name, "kind": kind, **given}, f"the new device {name!r}")


def need_free_name(name: str, configs: Path | None) -> None:
    """Raise UsageError when there is a device of that name."""
    if name in known_devices(configs):
        raise UsageError(f"there is a device {name!r} already", "", f"Look at it: hilnas devices show {name}")


def write_config(config: DeviceConfig, configs: Path | None) -> Path:
    """Write NAME.toml to the first folder that can be written and return its path; raise UsageError where none can."""
    text = as_toml(config)
    for folder in config_folders(configs):
        path = folder / f"{config.name}.toml"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError:
            continue  # not ours to write: the next folder
        return path
    raise UsageError("no folder for device configs can be written", "", "Name one: hilnas --configs DIR devices add")


def as_toml(config: DeviceConfig) -> str:
    """Return a config as TOML, without what is left at its default; it reads back as the same config."""
    values = {"kind": config.kind, **config.model_dump(mode="json", exclude_defaults=True, exclude={"name", "kind"})}
    values.setdefault("options", {"threads": config.options.threads})
    lines = [f"{key} = {_toml(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for table, items in values.items():
        if isinstance(items, dict):
            lines += ["", f"[{table}]", *(f"{_toml_key(key)} = {_toml(value)}" for key, value in items.items())]
    text = "\n".join([*lines, ""])
    assert parse_config({"name": config.name, **tomllib.loads(text)}, "what was written") == config
    return text


def _ssh(url: str) -> dict[str, Any]:
    match = _URL.fullmatch(url)
    if match is None:
        raise UsageError(
            f"{url!r} is no address of a board", "", "Write for instance ssh://pi5 or ssh://user@host:2222"
        )
    found: dict[str, Any] = {"host": match["host"].strip("[]")}
    if match["user"]:
        found["user"] = match["user"]
    if match["port"]:
        found["port"] = int(match["port"])
    return found


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # A JSON string, number or boolean is a TOML one, but for pairs of surrogates and the delete character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
