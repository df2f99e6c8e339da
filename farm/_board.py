"""A stand-in board: what can be done to it, and what can be seen of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from farm import _power, faces
from farm._errors import FarmFailure, FarmUnavailable
from farm._host import Running, call, plain_environment, spawn, wait_until, write
from farm._image import OTHER_ID, USER
from farm._network import give_back
from farm._processes import Process, processes_of
from farm._runtime import broken_runtime
from farm._state import FARMS, BoardState, load_state
from farm._wrapping import set_garbling, set_skew

_BROKEN_RUNTIME = "/etc/farm/broken-runtime"
_LOAD = "foreign-load"


class Board:
    """One board of a farm; any process of the machine may hold one, all that is known of it lies in its folder."""

    port = 22
    user = USER

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"Board({self.name!r}, {self.address})"

    @property
    def state(self) -> BoardState:
        """Return what is known of it now."""
        return load_state(self._folder)

    @property
    def name(self) -> str:
        """Return its name, which is its alias in the SSH configuration."""
        return self._folder.name

    @property
    def kind(self) -> str:
        """Return the kind of its device config."""
        return faces.load(self.state.face).kind

    @property
    def address(self) -> str:
        """Return its IPv4 address, which only this machine can reach."""
        return self.state.link.address

    @property
    def identity(self) -> Path:
        """Return the path of the private key that its user is let in with."""
        return FARMS / self.state.farm / "identity"

    @property
    def known_hosts(self) -> Path:
        """Return the path of a known_hosts file with its host key, as it was when the board was made."""
        return self._folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """Return the path of an SSH configuration in which the board's name is an alias."""
        return self._folder / "ssh_config"

    @property
    def boot_id(self) -> str:
        """Return the identifier of its latest boot."""
        return (self.state.control / "boot_id").read_text().strip()

    # Power

    @property
    def is_on(self) -> bool:
        """Say whether it runs."""
        return self.state.is_on

    def power_off(self) -> None:
        """Cut its power: every process ends at once; the disk is kept, /tmp is not."""
        _power.stop(self.state)

    def power_on(self) -> None:
        """Boot it and wait until its sshd listens; nothing happens when it is on."""
        if not self.is_on:
            _power.start(self.state)

    def reboot(self) -> None:
        """Cut the power and boot again: another boot_id, an empty /tmp, settings of clocks gone, home kept."""
        self.power_off()
        self.power_on()

    # Link

    def cut(self) -> None:
        """Take the link down at the board's end."""
        self.state.changed(is_cut=True).link.cut()

    def mend(self) -> None:
        """Bring the link up again; connections that stood through the cut go on."""
        self.state.changed(is_cut=False).link.mend()

    def shape(self, delay_s: float = 0.0, rate_bit_s: float | None = None, loss: float = 0.0) -> None:
        """Delay packets (seconds each way), limit their rate (each way) and lose a share of them; no argument: undo."""
        state = self.state
        if state.wire is not None:
            state.wire.kill()
            state = state.changed(wire=None)
        wanted = bool(delay_s or rate_bit_s or loss)
        if not wanted:
            state.link.straight()
            return
        if not Path(f"/sys/class/net/{state.link.outer_tun}").exists():
            state.link.detour()
        values = (state.label, state.link.outer_tun, state.link.inner_tun, delay_s, rate_bit_s or 0, loss)
        program = str(Path(__file__).with_name("_wire.py"))
        wire = spawn([sys.executable, "-I", "-S", program, *map(str, values)], state.folder / "wire.log")
        state.changed(wire=wire)
        carrier = Path(f"/sys/class/net/{state.link.outer_tun}/operstate")
        wait_until(lambda: carrier.read_text().strip() == "up" or not wire.alive, 5.0, "the slow link")
        if not wire.alive:
            raise FarmFailure("the slow link does not work", (state.folder / "wire.log").read_text()[-500:])

    # Processes

    def run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command on the board as root, past its sshd; its outcome is not checked."""
        words = [*_power.enter(self._init()), *argv]
        return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=plain_environment())

    def processes(self) -> list[Process]:
        """Return what runs on the board; sshd's own processes and zombies are left out."""
        state = self.state
        return list(processes_of(state.init.pid).values()) if state.init is not None and state.is_on else []

    def kill(self, pattern: str, signal: int = signal.SIGKILL) -> int:
        """Send a signal to the processes whose command line matches a regular expression; return their count."""
        count = 0
        for pid, process in processes_of(self._init().pid).items():
            if re.search(pattern, process.command):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal)
                    count += 1
        return count

    def freeze(self) -> None:
        """Stop everything on the board between two instructions; its link stays up, nothing answers."""
        self.state.group.freeze(True)

    def thaw(self) -> None:
        """Let everything go on."""
        self.state.group.freeze(False)

    def add_foreign_load(self, processes: int = 1) -> None:
        """Start programs of another user that take as much of the processor as they get."""
        busy = ["/bin/sh", "-c", "while :; do :; done", _LOAD]
        before = self._count_load()
        groups = [str(folder / "cgroup.procs") for folder in self.state.group.folders()]
        join = 'for group; do [ "$group" = -- ] && break; echo $$ >"$group"; shift; done; shift; exec "$@"'
        as_other = ["setpriv", f"--reuid={OTHER_ID}", f"--regid={OTHER_ID}", "--clear-groups"]
        for _ in range(processes):
            words = [*_power.enter(self._init()), *as_other, *busy]
            spawn(["/bin/sh", "-c", join, "join", *groups, "--", *words], self._folder / "log")
        wait_until(lambda: self._count_load() == before + processes, 5.0, "the foreign load")

    def stop_foreign_load(self) -> None:
        """End them."""
        self.kill(rf" {_LOAD}$")
        wait_until(lambda: self._count_load() == 0, 5.0, "the end of the foreign load")

    # Disk

    def fill_disk(self, leave_bytes: int = 0) -> None:
        """Take all room on its disk but so many bytes."""
        folder = self.state.disk_folder
        with (folder / "filler").open("ab") as file:
            for _ in range(10):
                size = shutil.disk_usage(folder).free - leave_bytes
                if size <= 0:
                    return
                with contextlib.suppress(OSError):  # the board writes meanwhile: less is left
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)

    def free_disk(self) -> None:
        """Give the room back."""
        (self.state.disk_folder / "filler").unlink(missing_ok=True)

    # Faults

    def throttle(self, on: bool = True) -> None:
        """Make it throttle: a Pi's bits of now and of since boot, an Orin's event counters, a Nano's temperature.

        Raises FarmUnavailable for a face that shows no throttling.
        """
        face = faces.load(self.state.face)
        if face.throttle is None:
            raise FarmUnavailable(f"{self.name}: a board with the face {face.name} shows no throttling")
        face.throttle(self.state.sys_folder, on)

    def change_host_key(self, known: bool = False) -> None:
        """Give it another host key, as after a new installation; `known_hosts` follows only when asked to."""
        control = self.state.control
        for name in ("host_key", "host_key.pub"):
            (control / name).unlink(missing_ok=True)
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(control / "host_key"))
        if known:
            kind, key = (control / "host_key.pub").read_text().split()[:2]
            write(self.known_hosts, f"{self.address} {kind} {key}\n")
        if self.is_on:
            self._reload_sshd()

    def refuse_login(self, on: bool = True) -> None:
        """Let nobody in any more, or let the user in again; connections that stand go on."""
        public = self.identity.with_suffix(".pub").read_text()
        write(self.state.control / "authorized_keys", "" if on else public)

    def skew_clock(self, seconds: float) -> None:
        """Shift the wall clock of programs that its user starts from now on; the monotonic clock stays right.

        Raises FarmUnavailable without libfaketime, and for an emulated board, which cannot load the machine's.
        """
        if seconds and faces.load(self.state.face).aarch64:
            raise FarmUnavailable("an emulated board's clock cannot be skewed", "libfaketime is the machine's.")
        set_skew(self.state.control, seconds)

    def corrupt(self, on: bool = True) -> None:
        """Spoil every seventh line that `python3` prints, for programs started from now on; undo."""
        set_garbling(self.state.control, on)

    def hide_runtime(self, on: bool = True) -> None:
        """Make the import of ONNX Runtime fail as if it had never been installed; undo."""
        write(self.state.control / "runtime", "" if on or not self.state.runtime else f"{_power.RUNTIME}\n")

    def break_runtime(self) -> None:
        """Put a runtime of another architecture there, whose library cannot load; undo: `hide_runtime(False)`."""
        broken_runtime(self.state.control / "broken-runtime")
        write(self.state.control / "runtime", f"{_BROKEN_RUNTIME}\n")

    def remove(self) -> None:
        """Switch it off and remove all that it has left on the machine."""
        state = _power.stop(self.state)
        if state.wire is not None:
            state.wire.kill()
        state.link.remove()
        state.group.remove()
        if os.path.ismount(state.disk_folder):
            call("umount", str(state.disk_folder))
        shutil.rmtree(state.folder)
        give_back(state.link)

    def _init(self) -> Running:
        state = self.state
        if state.init is None or not state.is_on:
            raise FarmFailure(f"{self.name} is off", "", f"Run: python -m farm power-on {self.name}")
        return state.init

    def _count_load(self) -> int:
        return sum(process.command.endswith(f" {_LOAD}") and process.user == "other" for process in self.processes())

    def _reload_sshd(self) -> None:
        """Let sshd read its files anew; it closes and opens its socket, connections that stand go on."""
        init = self._init()
        before = _power.listener(init.pid)
        os.kill(init.pid, signal.SIGHUP)
        wait_until(lambda: _power.listener(init.pid) not in (None, before), 5.0, "sshd to come back")
