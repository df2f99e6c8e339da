"""Scores on disk: one JSON line each, in a file per indicator and settings."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from hilnas import __version__
from hilnas.records import content_hash
from searchers._records import append_text
from searchers.evaluators._base import Score

_LOG = logging.getLogger("hilnas.scores")


class ScoreCache:
    """Scores by canonical form, in memory and, with a folder, on disk.

    A line is appended by one write, so that a process that is killed leaves at most one torn line, which is skipped
    when the file is read. The file's name holds the hash of everything a score depends on, our version included.
    """

    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        self._known: dict[str, Score] = {}
        self._path = None
        if folder is not None:
            self._path = folder / f"{settings['score']}-{content_hash([__version__, settings])[:16]}.jsonl"
            self._read()

    def get(self, form: str) -> Score | None:
        """Return the score of a canonical form, None where it is not known."""
        return self._known.get(form)

    def put(self, form: str, score: Score) -> None:
        """Keep the score of a canonical form."""
        self._known[form] = score
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        append_text(self._path, json.dumps([form, None if score.cause else score.value, score.cause]) + "\n")

    def _read(self) -> None:
        if self._path is None or not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                form, value, cause = json.loads(line)
                self._known[form] = Score(value) if cause is None else Score.missing(cause)
            except (ValueError, TypeError):
                _LOG.warning("%s: skipped a torn line", self._path)
