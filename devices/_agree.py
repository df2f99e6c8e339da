"""Running the runtimes' own benchmark programs on a device, on the model that we have just measured there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from devices._agreement import PEERS, Peer, compare
from devices._base import Check, Device
from devices._board_link import BoardLink
from devices._config import DeviceConfig
from hilnas.deadline import Deadline
from hilnas.errors import BadFile, DeviceError
from hilnas.records import Artifact, Workload

_CALLS = 500
_PEER_S = 300.0


def agreement_checks(device: Device, model: Path) -> list[Check]:
    """Return one line a benchmark program that is on the device: within 5 % of our figure, or why not."""
    try:
        data = model.read_bytes()
    except OSError as error:
        raise BadFile(f"{model} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(data).hexdigest()
    artifact = Artifact(
        Workload(f"model:{digest}", "model", ()), device.backend, digest, len(data), str(model.absolute())
    )
    try:
        with device.session(Deadline.after(120.0)) as session:
            run = session.measure(artifact, device.protocol)
        if run.status == "failed":
            return [Check("agreement", False, run.cause or "", "the model could not be measured")]
        found = [
            _check(device.config, peer, artifact, run.values()) for peer in PEERS if peer.backend == device.backend
        ]
    except DeviceError as error:
        return [Check("agreement", False, error.what, error.remedy)]
    checks = [check for check in found if check is not None]
    return checks or [Check("agreement", True, "n/a: no benchmark program of the runtime is on the device", "")]


def _check(config: DeviceConfig, peer: Peer, artifact: Artifact, samples_s: tuple[float, ...]) -> Check | None:
    text = _on_board(config, peer, artifact) if config.ssh.host else _here(config, peer, artifact)
    if text is None:
        return None
    name = f"agreement {peer.name}"
    try:
        found = compare(peer, samples_s, text)
    except ValueError as error:
        return Check(name, False, str(error), "its output has an unknown form")
    said = (
        f"{found.statistic}: ours {found.ours_s * 1e3:.4g} ms, theirs {found.theirs_s * 1e3:.4g} ms, {found.ratio:.3f}"
    )
    return Check(name, found.within or found.statistic == "mean", said, found.note)


def _here(config: DeviceConfig, peer: Peer, artifact: Artifact) -> str | None:
    assert artifact.path is not None
    program = sys.executable if peer.program == "python" else peer.program
    words = peer.command(program, artifact.path, config.options.threads, _CALLS)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PEER_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None


def _on_board(config: DeviceConfig, peer: Peer, artifact: Artifact) -> str | None:
    link = BoardLink(config)
    try:
        home = link.home(Deadline.after(60.0))
        model = f"{home}/blobs/{artifact.sha256[:2]}/{artifact.sha256}.onnx"
        program = config.ssh.python if peer.program == "python" else peer.program
        words = ["env", f"PYTHONPATH={home}/runtime", *peer.command(program, model, config.options.threads, _CALLS)]
        done = link.run(words, Deadline.after(_PEER_S))
        return done.output.decode("utf-8", "replace") + done.errors if done.status == 0 else None
    finally:
        link.close()
