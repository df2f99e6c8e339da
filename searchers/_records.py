"""Studies on disk: one JSON file a search command, written atomically as it goes."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hilnas import __version__
from hilnas.errors import BadFile, UnknownName
from hilnas.records import Constraint
from search_spaces._base import SearchSpace
from searchers._cost_models import SI_NAMES
from searchers._problem import Evaluation, Problem, Study

#: Version of the file's shape.
SCHEMA_VERSION = 1
#: Seconds between two writes of a running study; and how much longer than one write takes it has to be.
_WRITE_EVERY_S = 2.0
_WRITE_SHARE = 20


@dataclass(frozen=True)
class StudyRecord:
    """One search command: what was asked, the studies (one per searcher and seed), what was measured in the end.

    `request` is the JSON value of the command's options, enough to run it again; `answer` what the command printed,
    None while it has not ended.
    """

    study_id: str
    request: Mapping[str, Any]
    studies: tuple[Study, ...] = field(default=(), repr=False)
    answer: Mapping[str, Any] | None = field(default=None, repr=False)
    created_at: str = ""
    version: str = __version__

    @classmethod
    def new(cls, request: Mapping[str, Any]) -> StudyRecord:
        """Return an empty record with a new id."""
        now = datetime.now(UTC)
        study_id = f"study-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        return cls(study_id, request, created_at=now.isoformat(timespec="seconds"))

    def study(self, searcher: str, seed: int) -> Study | None:
        """Return what is recorded of one searcher under one seed."""
        found = (study for study in self.studies if (study.searcher, study.problem.seed) == (searcher, seed))
        return next(found, None)

    def with_study(self, study: Study) -> StudyRecord:
        """Return the record with a study added, or replaced by its longer form."""
        key = (study.searcher, study.problem.seed)
        others = tuple(item for item in self.studies if (item.searcher, item.problem.seed) != key)
        return replace(self, studies=(*others, study))


class RecordFile:
    """Writes one record again and again: to a new file that then takes the old one's place."""

    def __init__(self, folder: Path, record: StudyRecord) -> None:
        self._path = folder / f"{record.study_id}.json"
        self._next_write_s = 0.0
        self.record = record

    def put(self, record: StudyRecord) -> None:
        """Keep the record, and write it when the last write lies far enough back."""
        self.record = record
        if time.monotonic() >= self._next_write_s:
            self.write()

    def write(self) -> None:
        """Write the record now."""
        started = time.monotonic()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(_to_json(self.record), allow_nan=False), encoding="utf-8")
        partial.replace(self._path)
        took = time.monotonic() - started
        self._next_write_s = time.monotonic() + max(_WRITE_EVERY_S, _WRITE_SHARE * took)


def study_ids(folder: Path) -> list[str]:
    """Return the ids of all studies in a folder, oldest first."""
    return sorted(path.stem for path in folder.glob("*.json"))


def read_record(folder: Path, study_id: str, space_of: Any) -> StudyRecord:
    """Return a recorded study; `last` is the newest.

    `space_of(name, options)` builds the space that reads the architectures. Raises UnknownName for a study that is not
    there and BadFile for a file that is none.
    """
    value = read_json(folder, study_id)
    try:
        request = value["request"]
        space = space_of(request["space"], request["space_options"])
        studies = tuple(_study(item, request, space) for item in value["studies"])
        return StudyRecord(value["study_id"], request, studies, value["answer"], value["created_at"], value["version"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(f"the record of the study {study_id!r} cannot be read", repr(error)) from error


def read_json(folder: Path, study_id: str) -> dict[str, Any]:
    """Return the file of a study as a JSON value; `last` is the newest."""
    known = study_ids(folder)
    wanted = known[-1] if study_id == "last" and known else study_id
    if wanted not in known:
        raise UnknownName("study", study_id, known, "A study's id is printed by hilnas search.")
    try:
        value = json.loads((folder / f"{wanted}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"the record of the study {wanted!r} cannot be read", str(error)) from error
    if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION:
        raise BadFile(f"the record of the study {wanted!r} is of another version")
    return value


def _to_json(record: StudyRecord) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "version": record.version,
        "study_id": record.study_id,
        "created_at": record.created_at,
        "request": dict(record.request),
        "studies": [_study_json(study) for study in record.studies],
        "answer": record.answer,
    }


def _study_json(study: Study) -> dict[str, Any]:
    """Return a study by columns: one list a field, all of the same length."""
    rows = study.evaluations
    metrics = [constraint.metric for constraint in study.problem.constraints]
    return {
        "searcher": study.searcher,
        "seed": study.problem.seed,
        "elapsed_s": study.elapsed_s,
        "constraints": [asdict(constraint) for constraint in study.problem.constraints],
        "budget": study.problem.evaluations,
        "evaluations": {
            "architecture": [row.architecture.text for row in rows],
            "score": [row.score for row in rows],
            "reward": [row.reward for row in rows],
            "feasible": [row.feasible for row in rows],
            "cause": [row.cause for row in rows],
            **{SI_NAMES[metric]: [row.costs.get(metric) for row in rows] for metric in metrics},
            **{f"{SI_NAMES[metric]}_bound": [row.bounds.get(metric) for row in rows] for metric in metrics},
        },
    }


def _study(value: Mapping[str, Any], request: Mapping[str, Any], space: SearchSpace) -> Study:
    constraints = tuple(Constraint(**item) for item in value["constraints"])
    problem = Problem(request["space"], constraints, value["budget"], value["seed"], request["space_options"])
    columns = value["evaluations"]
    metrics = [constraint.metric for constraint in constraints]
    evaluations = tuple(_evaluation(columns, i, metrics, space) for i in range(len(columns["architecture"])))
    return Study(value["searcher"], problem, evaluations, value["elapsed_s"])


def _evaluation(columns: Mapping[str, Sequence[Any]], i: int, metrics: Sequence[str], space: SearchSpace) -> Evaluation:
    costs = {metric: columns[SI_NAMES[metric]][i] for metric in metrics}
    bounds = {metric: columns[f"{SI_NAMES[metric]}_bound"][i] for metric in metrics}
    return Evaluation(
        space.parse(columns["architecture"][i]),
        columns["score"][i],
        {metric: cost for metric, cost in costs.items() if cost is not None},
        {metric: bound for metric, bound in bounds.items() if bound is not None},
        columns["feasible"][i],
        columns["cause"][i],
        columns["reward"][i],
    )
