"""Limits of a board's memory, cores and processes: control groups of either version, as far as the machine has them."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from farm._errors import FarmFailure, FarmUnavailable
from farm._host import wait_until

_CONTROLLERS = ("memory", "cpuset", "pids", "freezer")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a board may use: memory such as `512m`, cores such as `0` or `0-1` (None: all), processes."""

    memory: str = "512m"
    cpus: str | None = None
    processes: int = 512


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """The control groups of one board, one folder a hierarchy."""

    name: str
    base: Path = Path("/sys/fs/cgroup")

    def create(self, limits: Limits) -> list[str]:
        """Make them and return the files that a process writes `0` to in order to join."""
        if self._unified:
            self._create_unified(limits)
        else:
            self._create_separate(limits)
        return [str(folder / "cgroup.procs") for folder in self.folders()]

    def folders(self) -> list[Path]:
        """Return those that exist."""
        places = [self.base] if self._unified else [self.base / controller for controller in _CONTROLLERS]
        return [place / self.name for place in places if (place / self.name).is_dir()]

    def freeze(self, on: bool) -> None:
        """Stop every process inside between two instructions, or let them go on.

        Raises FarmUnavailable where the machine has no freezer.
        """
        frozen, thawed, path = ("1", "0", self.base / self.name / "cgroup.freeze")
        if not self._unified:
            frozen, thawed, path = ("FROZEN", "THAWED", self.base / "freezer" / self.name / "freezer.state")
        if not path.exists():
            raise FarmUnavailable("boards cannot be frozen here", "The machine has no cgroup freezer.")
        path.write_text(frozen if on else thawed)
        if not self._unified:
            wait_until(lambda: path.read_text().strip() == (frozen if on else thawed), 5.0, f"{path} to change")

    def remove(self) -> None:
        """Remove them; their processes have gone, which the kernel may notice a moment later."""
        for folder in self.folders():
            for _ in range(200):
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    break
                time.sleep(0.01)

    @property
    def _unified(self) -> bool:
        return (self.base / "cgroup.controllers").exists()

    def _create_unified(self, limits: Limits) -> None:
        for controller in ("memory", "cpuset", "pids"):
            with contextlib.suppress(OSError):  # a container may not be allowed to: then there is no such limit
                (self.base / "cgroup.subtree_control").write_text(f"+{controller}")
        with contextlib.suppress(OSError):
            (self.base / self.name).mkdir(exist_ok=True)
        settings = {"memory.max": limits.memory, "memory.swap.max": "0", "pids.max": str(limits.processes)}
        if limits.cpus is not None:
            settings["cpuset.cpus"] = limits.cpus
        _set_those_there(self.base / self.name, settings)

    def _create_separate(self, limits: Limits) -> None:
        for controller in _CONTROLLERS:
            if (self.base / controller / "cgroup.procs").exists():
                (self.base / controller / self.name).mkdir(exist_ok=True)
        _set_those_there(self.base / "memory" / self.name, {"memory.limit_in_bytes": limits.memory})
        _set_those_there(self.base / "pids" / self.name, {"pids.max": str(limits.processes)})
        cpuset = self.base / "cpuset"
        if (cpuset / self.name).is_dir():  # an empty cpuset lets nobody join
            cpus = limits.cpus or (cpuset / "cpuset.cpus").read_text().strip()
            mems = (cpuset / "cpuset.mems").read_text().strip()
            _set_those_there(cpuset / self.name, {"cpuset.cpus": cpus, "cpuset.mems": mems})


def _set_those_there(folder: Path, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        if not (folder / name).exists():
            continue
        try:
            (folder / name).write_text(value)
        except OSError as error:
            raise FarmFailure(f"the kernel refuses {name} = {value!r}: {error.strerror}") from error
