"""Studies on disk: what was evaluated, line by line as it happens, and what was answered in the end.

`studies/ID.jsonl` holds the request in its first line and then one evaluation a line; `studies/ID.json` the answer that
was printed (before the end: the request and the state "running").
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hilnas.errors import BadFile, UnknownName
from profiler._errors import DiskFull
from profiler._metrics import stored_names
from search_spaces._base import SearchSpace
from searchers._problem import Evaluation

#: Version of the files' shape.
SCHEMA_VERSION = 1


class StudyLog:
    """One recorded search command; lines are appended, so that a process that is killed loses at most the last one."""

    def __init__(self, folder: Path, study_id: str, request: Mapping[str, Any]) -> None:
        self.study_id = study_id
        self.request = request
        self._lines = folder / f"{study_id}.jsonl"
        self._answer = folder / f"{study_id}.json"

    @classmethod
    def create(cls, folder: Path, request: Mapping[str, Any]) -> StudyLog:
        """Return the log of a new study."""
        study_id = f"study-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        log = cls(folder, study_id, request)
        folder.mkdir(parents=True, exist_ok=True)
        log._append([{"schema_version": SCHEMA_VERSION, "study_id": study_id, "request": dict(request)}])
        log._put({"schema_version": SCHEMA_VERSION, "study_id": study_id, "state": "running", "request": dict(request)})
        return log

    @classmethod
    def open(cls, folder: Path, study_id: str) -> StudyLog:
        """Return the log of a recorded study, `last` the newest; raise UnknownName or BadFile."""
        known = sorted(path.stem for path in folder.glob("*.jsonl"))
        wanted = known[-1] if study_id == "last" and known else study_id
        if wanted not in known:
            raise UnknownName("study", study_id, known, "hilnas search prints the id of its study.")
        header = next(iter(_read_lines(folder / f"{wanted}.jsonl")), {})
        if header.get("schema_version") != SCHEMA_VERSION or not isinstance(header.get("request"), dict):
            raise BadFile(f"the record of the study {wanted!r} cannot be read", "Its first line is no request.")
        return cls(folder, wanted, header["request"])

    def append(self, searcher: str, seed: int, evaluations: Sequence[Evaluation]) -> None:
        """Record evaluations of one searcher under one seed."""
        self._append([{"searcher": searcher, "seed": seed, **to_row(item)} for item in evaluations])

    def rows(self) -> list[dict[str, Any]]:
        """Return the recorded evaluations as they were written."""
        return _read_lines(self._lines)[1:]

    def recorded(self, space: SearchSpace) -> dict[tuple[str, int], list[Evaluation]]:
        """Return the evaluations so far by searcher and seed; raise BadFile where a line makes no sense."""
        found: dict[tuple[str, int], list[Evaluation]] = {}
        try:
            for row in self.rows():
                found.setdefault((row["searcher"], row["seed"]), []).append(_from_row(row, space))
        except (KeyError, TypeError, ValueError) as error:
            raise BadFile(f"the record of the study {self.study_id!r} cannot be read", repr(error)) from error
        return found

    def answer(self) -> dict[str, Any] | None:
        """Return what was answered, None where the study has not ended."""
        try:
            value = json.loads(self._answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) and value.get("state") != "running" else None

    def finish(self, answer: Mapping[str, Any]) -> None:
        """Record the answer."""
        self._put({**answer, "request": dict(self.request)})

    def _append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        append_text(self._lines, text)

    def _put(self, value: Mapping[str, Any]) -> None:
        partial = self._answer.with_suffix(f".{os.getpid()}.partial")
        with _writing(self._answer):
            partial.write_text(json.dumps(value, allow_nan=False, indent=1), encoding="utf-8")
            partial.replace(self._answer)


def append_text(path: Path, text: str) -> None:
    """Append lines by one write; a torn line that a killed process left before them is closed first.

    Several processes may append to one file. Raises DiskFull where they cannot be written.
    """
    with _writing(path), path.open("ab+", buffering=0) as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                text = "\n" + text
        data = text.encode()
        if file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskFull(
            f"{path} cannot be written: {error.strerror}",
            "Every evaluation recorded before is kept.",
            "Free some space, then continue with: hilnas search --resume last",
        ) from error


def to_row(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as a JSON value with stored names; `X_bound` only where it differs from X."""
    row: dict[str, Any] = {
        "architecture": evaluation.architecture.text,
        "score": evaluation.score,
        "reward": evaluation.reward,
        "feasible": evaluation.feasible,
        "cause": evaluation.cause,
    }
    if not evaluation.may_win:
        row["may_win"] = False
    for metric, value in evaluation.costs.items():
        row[stored_names()[metric]] = value
        if evaluation.bounds[metric] != value:
            row[f"{stored_names()[metric]}_bound"] = evaluation.bounds[metric]
    return row


def _from_row(row: Mapping[str, Any], space: SearchSpace) -> Evaluation:
    costs = {metric: float(row[name]) for metric, name in stored_names().items() if name in row}
    bounds = {metric: float(row.get(f"{stored_names()[metric]}_bound", cost)) for metric, cost in costs.items()}
    architecture = space.parse(row["architecture"])
    may_win = row.get("may_win", True)
    return Evaluation(architecture, row["score"], costs, bounds, row["feasible"], row["cause"], row["reward"], may_win)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a file's lines; a torn line is left out."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
