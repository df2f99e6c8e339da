"""What the doctor may change: trusting a host key, installing a runtime, setting and undoing a power state."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from devices._base import Check
from devices._board_link import BoardLink
from devices._config import DeviceConfig, PowerOptions
from devices._conversation import Conversation
from devices._errors import PowerRefused
from devices._host_keys import AcceptFingerprint, add_key, project_files
from devices._ssh import connect, resolve
from hilnas.deadline import Deadline
from hilnas.errors import DeviceError, UsageError

#: What `--fix` takes, and the power state it stands for.
FIXES: dict[str, dict[str, Any]] = {
    "governor": {"governor": "performance"},
    "clocks": {"clocks": True},
    "power-mode": {"power_mode": 0},
}
_INSTALL_S = 600.0


def accept_key(config: DeviceConfig, fingerprint: str) -> Path | None:
    """Trust the board's host key if it has this fingerprint; return the file it was written to, None if known already.

    Raises HostKeyRefused when the board has another key.
    """
    address = resolve(config.ssh)
    ours = {path.absolute() for path in project_files()}
    others = tuple(path for path in address.known_hosts if path.expanduser().absolute() not in ours)
    policy = AcceptFingerprint(config.name, fingerprint)
    connect(config.name, replace(address, known_hosts=others), config.ssh.connect_timeout_s, policy).close()
    if policy.accepted is None:
        return None
    for path in project_files():
        try:
            add_key(path, *policy.accepted)
        except OSError:
            continue  # not ours to write: the next one
        return path
    raise UsageError("no folder for known_hosts can be written", "", "Make one: mkdir device_configs")


def detect_kind(config: DeviceConfig) -> str:
    """Return the kind of a board by what its agent finds there; raise DeviceError when it cannot be reached."""
    link = BoardLink(config, lease=False)
    try:
        conversation = Conversation(config.name, link.start(Deadline.after(60.0)), Deadline.after(60.0))
        state = conversation.ask({"op": "state"}, Deadline.after(60.0)).state
        conversation.end()
    finally:
        link.close()
    if "unavailable" not in state.get("l4t_release", {"unavailable": ""}):
        return "jetson"
    return "raspberry_pi" if "Raspberry Pi" in str(state.get("board", {}).get("model", "")) else "ssh_linux"


def install_runtime(config: DeviceConfig, wheels: Path) -> dict[str, Any]:
    """Unpack the wheels of a folder that fit the board into the agent's own folder there; return what was installed."""
    from devices._wheels import fitting_wheels

    if not wheels.is_dir():
        raise UsageError(f"{wheels} is no folder of wheels", "", f"What fits: hilnas devices doctor {config.name}")
    link = BoardLink(config)
    try:
        deadline = Deadline.after(_INSTALL_S)
        conversation = Conversation(config.name, link.start(deadline), deadline)
        _need(config, conversation.ask({"op": "begin", **link.claim, "power": {}}, deadline))
        chosen = fitting_wheels(wheels, conversation.hello.host, (config.backend or "onnxruntime", "numpy"))
        size = sum(path.stat().st_size for path in chosen)
        folder = _need(config, conversation.ask({"op": "room", "size_bytes": 4 * size}, deadline)).path
        mark = secrets.token_hex(4)
        for path in chosen:
            link.put(path, f"{folder}/{mark}/{path.name}")
        asked = conversation.send({"op": "install", "folder": mark, "wheels": [path.name for path in chosen]})
        done = conversation.answer(asked, deadline, silence_s=_INSTALL_S)
        conversation.end()
        return dict(_need(config, done).runtime)
    finally:
        link.close()


def try_fixes(config: DeviceConfig, names: Sequence[str], allow_reboot: bool, power_mode: int | None) -> list[Check]:
    """Set power states, look whether they hold, undo them; one line each. The config then says which to set always."""
    found = []
    for name in names:
        wanted = dict(FIXES[name])
        if name == "power-mode":
            wanted = {"power_mode": power_mode if power_mode is not None else 0, "allow_reboot": allow_reboot}
        found.append(_try_fix(config, name, wanted))
    return found


def _try_fix(config: DeviceConfig, name: str, wanted: dict[str, Any]) -> Check:
    line = ", ".join(f"{key} = {json.dumps(value)}" for key, value in wanted.items())
    link = BoardLink(config.model_copy(update={"power": PowerOptions(**wanted)}))
    try:
        deadline = Deadline.after(60.0)
        conversation = Conversation(config.name, link.start(deadline), deadline)
        _need(config, conversation.ask({"op": "begin", **link.claim}, deadline))
        conversation.end()
    except DeviceError as error:
        return Check(f"fix {name}", False, error.what, error.cause or error.remedy)
    finally:
        link.close()
    return Check(f"fix {name}", True, "was set, verified and undone", f"to set it for every campaign: [power] {line}")


def _need(config: DeviceConfig, answer: Any) -> Any:
    if answer.ok:
        return answer
    kind = PowerRefused if answer.stage == "power" else DeviceError
    raise kind(f"{config.name}: {answer.stage}: {answer.cause}", "", f"Run: hilnas devices doctor {config.name}")
