"""Searches on pictures, each in a process of its own: what they propose, how long they take, and how much memory."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

from devices.agent._memory import Peak
from hilnas import plugins
from hilnas.errors import BadFile, HilnasError
from profiler._campaign import Progress
from searchers._own_process import OwnProcess
from searchers._records import append_text
from searchers.supernets._base import GradientSearcher, Outcome, Task

PACKAGE = "searchers.supernets"
#: How often progress is looked at while searches run.
_LOOK_S = 0.5


@dataclass(frozen=True)
class Job:
    """One search: the searcher by name, its task, its options, and the folder of its own."""

    searcher: str
    task: Task
    options: Mapping[str, Any]
    folder: Path

    @property
    def name(self) -> str:
        """Return what the search is called on the screen."""
        return f"{self.searcher}, seed {self.task.seed}, bounds x {self.task.factor:g}"


@dataclass(frozen=True)
class Searched:
    """The outcome of a job, how long it took, and what its process held at most beyond what it began with."""

    outcome: Outcome = field(repr=False)
    elapsed_s: float
    peak_bytes: int


def run_jobs(jobs: Sequence[Job], workers: int, progress: Progress) -> list[Searched]:
    """Run the jobs that have no result yet, so many at once, and return all results in order.

    Raises what a search raises, and HilnasError where a process ends: what was done is kept in the folders of the jobs.
    """
    missing = [job for job in jobs if not _result(job).exists()]
    for job in missing:
        job.folder.mkdir(parents=True, exist_ok=True)
    if missing:
        _run_all(missing, min(workers, len(missing)), len(jobs), progress)
    return [_read(job) for job in jobs]


def _run_all(jobs: Sequence[Job], workers: int, total: int, progress: Progress) -> None:
    waiting, done = list(jobs), total - len(jobs)
    running: dict[int, tuple[Job, OwnProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop(0)
                process = OwnProcess(_run, job)
                running[process.sentinel] = (job, process)
            ended = connection.wait(list(running), _LOOK_S)
            for sentinel in running.keys() & set(ended):
                job, process = running.pop(sentinel)
                _ended(job, process.end())
                done += 1
            progress(done, total, _newest(jobs))
    finally:
        for _, process in running.values():
            process.stop()  # its last checkpoint is whole


def _ended(job: Job, code: int) -> None:
    """Raise HilnasError where a process has ended without a result."""
    if _result(job).exists():
        return
    memory = "It may have run out of memory. " if code == -signal.SIGKILL else ""
    raise HilnasError(
        f"the process of {job.name} has ended with exit code {code}",
        f"{memory}What it had done before is kept.",
        "Search a smaller supernet (--set width=8, --set batch=32), or go on with: hilnas search --resume last",
    )


def _newest(jobs: Sequence[Job]) -> str:
    """Return what the job that reported last is at."""
    reported = [job for job in jobs if _reports(job).exists()]
    if not reported:
        return jobs[0].name
    job = max(reported, key=lambda item: _reports(item).stat().st_mtime)
    last = _reports(job).read_text(encoding="utf-8").rpartition("\n")[0].rpartition("\n")[2]
    return f"{job.name}: {last[:160]}"


def _run(job: Job) -> None:
    """Run one job and write its result."""
    kind = plugins.load(PACKAGE, job.searcher, GradientSearcher, "searcher")
    began, peak = time.monotonic(), Peak()

    def report(values: Mapping[str, Any], share: float) -> None:
        append_text(_reports(job), f"{share:4.0%} {_line(values)}\n")

    outcome = kind(job.task, **job.options).run(job.folder, report)
    spent = outcome.history[-1].get("elapsed_s") if outcome.history else None
    values = {
        "architectures": [item.text for item in outcome.architectures],
        "shares": outcome.shares,
        "history": outcome.history,
        "cause": outcome.cause,
        "elapsed_s": time.monotonic() - began if spent is None else spent,
        "peak_bytes": _peak_bytes(peak),
    }
    partial = _result(job).with_suffix(".partial")
    partial.write_text(json.dumps(values, allow_nan=False), encoding="utf-8")
    partial.replace(_result(job))


def _line(values: Mapping[str, Any]) -> str:
    """Return the numbers of a report in one line."""
    parts = []
    for name, value in values.items():
        if isinstance(value, float | int):
            parts.append(f"{name} {value:.4g}")
        elif isinstance(value, Mapping):
            parts += [f"{name} {key} {item:.4g}" for key, item in value.items() if isinstance(item, float | int)]
    return ", ".join(parts)


def _peak_bytes(peak: Peak) -> int:
    """Return what this process, or torch's allocator on a GPU, has held at most since it was looked at."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return int(peak.report().get("peak_bytes", 0))


def _result(job: Job) -> Path:
    return job.folder / "result.json"


def _reports(job: Job) -> Path:
    return job.folder / "progress.txt"


def _read(job: Job) -> Searched:
    try:
        value = json.loads(_result(job).read_text(encoding="utf-8"))
        parse = job.task.space.parse
        outcome = Outcome(
            tuple(parse(text) for text in value["architectures"]),
            tuple(tuple(map(float, row)) for row in value["shares"]),
            tuple(value["history"]),
            value["cause"],
        )
        return Searched(outcome, float(value["elapsed_s"]), int(value["peak_bytes"]))
    except (OSError, KeyError, TypeError, ValueError, HilnasError) as error:
        raise BadFile(
            f"{_result(job)} is no result of a search", str(error)[:200], "Take it away to search again."
        ) from error
