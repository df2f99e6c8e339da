"""The three stories on this machine: the commands a user would type, one after the other."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable

import numpy as np

from hilnas.errors import HilnasError
from profiler._workspace import Workspace

#: Runs one command line of hilnas and returns its exit code.
Run = Callable[[list[str]], int]
Say = Callable[[str], None]

SPACE = "nasbench201"
N_CELLS = 40
EPISODES = 150


def tell(workspace: Workspace, device: str, seed: int, run: Run, say: Say) -> int:
    """Tell the stories; return 0 when every command has done its work, else the first failing exit code."""
    began = time.monotonic()
    steps = [
        ("Is the device ready?", ["devices", "doctor", device]),
        (
            f"Story 1: profile a new device. {N_CELLS} architectures, then the blocks they are made of.",
            ["profile", device, "--space", SPACE, "--samples", str(N_CELLS), "--seed", str(seed)],
        ),
        ("", ["profile", device, "--space", SPACE, "--blocks", "--seed", str(seed)]),
        (
            "Learn to predict its latency.",
            ["fit", device, "--predictor", "lookup_table", "--budget", str(N_CELLS), "--seed", str(seed)],
        ),
        ("", ["fit", device, "--predictor", "gradient_boosting", "--budget", str(N_CELLS), "--seed", str(seed)]),
        (
            "Story 3: compare predicted with measured latency, on architectures never measured before.",
            ["compare", device, "--n", "8", "--seed", str(seed + 1)],
        ),
    ]
    for text, command in steps:
        code = _step(text, command, run, say)
        if code not in (0, 4) or (code == 4 and command[1] != "doctor"):
            return code
    search = [
        *("search", "latency_reward_rl", "--space", SPACE, "--device", device),
        *("--max", f"latency={limit_ms(workspace, device):.4g}ms"),
        *("--score", "nwot", "--episodes", str(EPISODES), "--seed", str(seed)),
    ]
    code = _step(
        "Story 2: search offline, with what is recorded; no device is touched.", [*search, "--offline"], run, say
    )
    if code:
        return code
    text = "Story 1, the end: search under the limit; the winners are measured again before they are shown."
    code = _step(text, search, run, say)
    say(f"done in {time.monotonic() - began:.0f} s")
    return code


def limit_ms(workspace: Workspace, device: str) -> float:
    """Return the 40th percentile of what was measured, in milliseconds: a limit that is neither loose nor hopeless."""
    measured = [item.latency_s for item in workspace.store.measurements(device, space=SPACE)]
    known = [value for value in measured if value is not None]
    if not known:
        raise HilnasError(f"nothing was measured on {device}", "", f"Run: hilnas devices doctor {device}")
    return float(np.quantile(known, 0.4)) * 1e3


def _step(text: str, command: list[str], run: Run, say: Say) -> int:
    if text:
        say(f"\n{text}")
    say(f"\n$ hilnas {shlex.join(command)}")
    return run(command)
