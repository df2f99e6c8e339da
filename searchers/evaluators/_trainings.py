"""What came of training a network, and the file that keeps it."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hilnas import __version__
from hilnas.records import content_hash
from searchers._records import append_text

_LOG = logging.getLogger("hilnas.scores")


@dataclass(frozen=True, slots=True)
class Training:
    """One training: after each epoch the share of held-out images recognised, and the loss (nats) of training.

    `stopped` says why it ended before its last epoch, `cause` why it failed; `elapsed_s` is how long it took.
    """

    architecture: str
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    elapsed_s: float
    stopped: str | None = None
    cause: str | None = None

    def __post_init__(self) -> None:
        if len(self.accuracies) != len(self.losses) or not (self.accuracies or self.cause):
            raise ValueError("a training has as many losses as accuracies, one at least unless it failed")
        if not all(map(math.isfinite, (*self.accuracies, *self.losses, self.elapsed_s))):
            raise ValueError("a training holds finite numbers")

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Training:
        """Return the training of a JSON value; raise TypeError or ValueError for another value."""
        curves = {name: tuple(map(float, value[name])) for name in ("accuracies", "losses")}
        return cls(**{**value, **curves})


class TrainingCache:
    """Trainings by canonical form, in memory and, with a folder, on disk: one JSON line each.

    The file's name holds the hash of everything a training depends on, our version included. A line is appended by one
    write, so that a process that is killed leaves at most one torn line, which is skipped when the file is read.
    """

    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        self._known: dict[str, Training] = {}
        self._path = None
        if folder is not None:
            self._path = folder / f"trained-{content_hash([__version__, settings])[:16]}.jsonl"
            self._read(self._path)

    def get(self, form: str) -> Training | None:
        """Return the training of a canonical form, None where there was none."""
        return self._known.get(form)

    def put(self, form: str, training: Training) -> None:
        """Keep the training of a form; one that failed only in memory: another day may have more of it."""
        self._known[form] = training
        if self._path is not None and training.cause is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            append_text(self._path, json.dumps([form, asdict(training)], allow_nan=False) + "\n")

    def _read(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        for line in lines:
            try:
                form, value = json.loads(line)
                self._known[form] = Training.from_json(value)
            except (ValueError, TypeError, KeyError):
                _LOG.warning("%s: skipped a torn line", path)
