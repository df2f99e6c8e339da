"""Faults that strike a campaign on a stand-in board at a random moment."""

from __future__ import annotations

import base64
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import paramiko

from devices._config import DeviceConfig
from devices._errors import DeviceBusy
from devices._host_keys import AcceptFingerprint, add_key, fingerprint
from devices._ssh import connect, resolve
from devices.ssh_linux import SshLinux
from farm import Board
from hilnas.deadline import Deadline

#: What the agent's processes on a board are found by.
SUPERVISOR, TEMPLATE = "runpy", "--template"


@dataclass
class Trial:
    """One campaign under way, with what an injector needs."""

    board: Board
    config: DeviceConfig
    rng: random.Random
    #: When the board throttled or was somebody else's: numbers from within must not count.
    forbidden: tuple[float, float] = (0.0, 0.0)


#: Returns False when there was nothing that the fault could hit.
Injector = Callable[[Trial], bool]


def _kill(trial: Trial, pattern: str, signal: int = 9) -> bool:
    return trial.board.kill(pattern, signal) > 0


def _log_out(trial: Trial) -> bool:
    """Kill the server's end of the connection."""
    return trial.board.run(["pkill", "-KILL", "-u", trial.board.user, "sshd"]).returncode == 0


def cut(trial: Trial) -> bool:
    """Cut the link for some seconds."""
    trial.board.cut()
    time.sleep(trial.rng.uniform(1.0, 6.0))
    trial.board.mend()
    return True


def login_killed(trial: Trial) -> bool:
    """Kill the server's end of the connection."""
    return _log_out(trial)


def agent_killed(trial: Trial) -> bool:
    """Kill the supervisor."""
    return _kill(trial, SUPERVISOR)


def worker_killed(trial: Trial) -> bool:
    """Kill template and worker."""
    return _kill(trial, TEMPLATE)


def worker_hangs(trial: Trial) -> bool:
    """Stop template and worker without ending them."""
    return _kill(trial, TEMPLATE, 19)


def board_hangs(trial: Trial) -> bool:
    """Freeze the whole board for some seconds."""
    trial.board.freeze()
    time.sleep(trial.rng.uniform(1.0, 5.0))
    trial.board.thaw()
    return True


def reboot(trial: Trial) -> bool:
    """Cut the power and switch it on again."""
    trial.board.reboot()
    return True


def reboot_twice(trial: Trial) -> bool:
    """Cut the power again soon after."""
    trial.board.reboot()
    time.sleep(trial.rng.uniform(0.5, 3.0))
    trial.board.reboot()
    return True


def disk_full(trial: Trial) -> bool:
    """Fill the disk for some seconds; the agent is killed, so that it must be written to again."""
    trial.board.fill_disk()
    trial.board.kill(SUPERVISOR)
    time.sleep(trial.rng.uniform(1.0, 3.0))
    trial.board.free_disk()
    return True


def host_key_changed(trial: Trial) -> bool:
    """Give the board another host key, as after an installation; a person accepts it a little later."""
    trial.board.change_host_key()
    _log_out(trial)
    time.sleep(trial.rng.uniform(2.0, 4.0))
    _accept_new_key(trial)
    return True


def login_refused(trial: Trial) -> bool:
    """Let nobody in for some seconds."""
    trial.board.refuse_login(True)
    _log_out(trial)
    time.sleep(trial.rng.uniform(2.0, 4.0))
    trial.board.refuse_login(False)
    return True


def runtime_of_another_architecture(trial: Trial) -> bool:
    """Replace the runtime by one that cannot be loaded, for some seconds."""
    trial.board.break_runtime()
    trial.board.kill(TEMPLATE)
    time.sleep(trial.rng.uniform(1.0, 3.0))
    trial.board.hide_runtime(False)
    return True


def throttled(trial: Trial) -> bool:
    """Report throttling for a second or two."""
    trial.board.throttle(True)
    began = time.time()
    time.sleep(trial.rng.uniform(0.8, 2.0))
    trial.forbidden = (began, time.time())
    trial.board.throttle(False)
    return True


def clock_jumps(trial: Trial) -> bool:
    """Let the board's clock be wrong by days; a fresh agent sees it."""
    trial.board.skew_clock(trial.rng.choice((-3, 3)) * 86400.0)
    return _kill(trial, SUPERVISOR)


def second_user(trial: Trial) -> bool:
    """Let somebody else ask for the board; they must be told, and not disturb, or have it for themselves.

    They get it where the campaign has not begun yet, which is then the one that has to wait.
    """
    other = SshLinux(trial.config.model_copy(update={"name": "other"}))
    with contextlib.suppress(DeviceBusy), other.session(Deadline.after(20.0)):
        began = time.time()
        time.sleep(1.0)
        trial.forbidden = (began, time.time())
    return True


def torn_output(trial: Trial) -> bool:
    """Let the board print rubbish between and instead of answers for some seconds."""
    trial.board.corrupt(True)
    trial.board.kill(SUPERVISOR)
    time.sleep(trial.rng.uniform(1.0, 3.0))
    trial.board.corrupt(False)
    return True


def nothing(trial: Trial) -> bool:
    """Do nothing: the fault is the controller's, or lies in a model."""
    return True


INJECTORS: dict[str, Injector] = {
    "cut_in_measurement": cut,
    "cut_in_transfer": cut,
    "login_killed": login_killed,
    "agent_killed": agent_killed,
    "worker_killed": worker_killed,
    "worker_out_of_memory": nothing,
    "worker_hangs": worker_hangs,
    "board_hangs": board_hangs,
    "reboot": reboot,
    "reboot_twice": reboot_twice,
    "disk_full": disk_full,
    "host_key_changed": host_key_changed,
    "login_refused": login_refused,
    "runtime_of_another_architecture": runtime_of_another_architecture,
    "throttled": throttled,
    "clock_jumps": clock_jumps,
    "second_user": second_user,
    "torn_output": torn_output,
    "controller_killed": nothing,
}


def _accept_new_key(trial: Trial) -> None:
    """Do what the refusal says: look at the board's own key and accept its fingerprint."""
    address = resolve(trial.config.ssh)
    kind, text = (trial.board.state.control / "host_key.pub").read_text().split()[:2]
    wanted = fingerprint(paramiko.PKey.from_type_string(kind, base64.b64decode(text)))
    policy = AcceptFingerprint(trial.config.name, wanted)
    connect(trial.config.name, replace(address, known_hosts=()), 5.0, policy).close()
    assert policy.accepted is not None
    add_key(Path(trial.board.known_hosts), *policy.accepted)
