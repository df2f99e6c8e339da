"""Writing a new device config."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from devices._config import config_folders, known_devices, parse_config
from hilnas import plugins
from hilnas.errors import UnknownName, UsageError


def add_device(name: str, kind: str, threads: int, description: str, configs: Path | None) -> Path:
    """Write NAME.toml to the first folder that can be written and return its path.

    Raises UnknownName for an unknown kind and UsageError for a name that is taken or no name, or where nothing can
    be written.
    """
    kinds = [item for item in plugins.names("devices") if item != "replay"]
    if kind not in kinds:
        raise UnknownName("kind", kind, kinds)
    if name in known_devices(configs):
        raise UsageError(f"there is a device {name!r} already", "", f"Look at it: hilnas devices show {name}")
    text = _text(kind, threads, description)
    parse_config({"name": name, **tomllib.loads(text)}, f"the new device {name!r}")
    for folder in config_folders(configs):
        path = folder / f"{name}.toml"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError:
            continue  # not ours to write: the next folder
        return path
    raise UsageError("no folder for device configs can be written", "", "Name one: hilnas --configs DIR devices add")


def _text(kind: str, threads: int, description: str) -> str:
    lines = [f'kind = "{kind}"']
    if description:
        lines.append(f"description = {json.dumps(description)}")  # a JSON string is a TOML string
    return "\n".join([*lines, "", "[options]", f"threads = {threads}", ""])
