"""Searches in processes of their own: what ends with them, what is kept, and the real command line under kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hilnas.errors import BadFile, HilnasError, UsageError
from search_spaces.nasbench201 import NasBench201
from searchers._supernet_jobs import Job, _newest, run_jobs
from searchers.supernets._base import Pictures, Task

SPACE = NasBench201(width=4, depth=1, resolution=8)
OPTIONS = {"epochs": 1, "batch": 16}


def silent(done, total, text):
    pass


def job(folder, seed=0, images=80, **options):
    task = Task(SPACE, {}, Pictures(None, images), {}, {}, seed=seed)
    return Job("darts", task, {**OPTIONS, **options}, folder)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return two jobs that have been run at once, what came of them, and what was told."""
    folder, told = tmp_path_factory.mktemp("jobs"), []
    jobs = [job(folder / str(seed), seed) for seed in range(2)]
    return jobs, run_jobs(jobs, 2, lambda *values: told.append(values)), told


def test_each_job_has_its_own_outcome_time_and_memory(two):
    _, found, told = two
    first, second = found
    assert first.outcome.shares != second.outcome.shares
    for item in found:
        assert len(item.outcome.architectures) == 1 and len(item.outcome.history) == 1
        assert 0 < item.elapsed_s < 60 and 0 < item.peak_bytes < 2**31
    assert told[-1][:2] == (2, 2)
    assert "training_loss" in told[-1][2] and "darts, seed" in told[-1][2]


def test_what_has_a_result_is_not_run_again(two, monkeypatch):
    jobs, found, _ = two
    monkeypatch.setattr("searchers._supernet_jobs._run_all", lambda *_: pytest.fail("a job was run again"))
    assert run_jobs(jobs, 2, silent) == found


def test_a_result_that_is_none_is_refused(two, tmp_path):
    torn = job(tmp_path)
    (tmp_path / "result.json").write_text('{"architectures": ["nasb')
    with pytest.raises(BadFile, match="is no result of a search"):
        run_jobs([torn], 1, silent)


def test_what_stops_a_search_comes_back_as_it_was_raised(tmp_path):
    waiting = [job(tmp_path / str(seed), seed, rate=0.025) for seed in range(2)]
    broken = Job("darts", Task(SPACE, {"resolution": 7}, Pictures(None, 80), {}, {}), OPTIONS, tmp_path / "broken")
    with pytest.raises(UsageError, match="a resolution that is a multiple of 4"):
        run_jobs([broken, *waiting], 1, silent)
    assert not (tmp_path / "0" / "result.json").exists(), "what waited is not run"


def test_a_process_that_is_killed_is_said_to_have_been(tmp_path):
    def kill(done, total, text):
        if (tmp_path / "progress.txt").exists():
            for child in children(os.getpid()):
                os.kill(child, signal.SIGKILL)

    with pytest.raises(HilnasError) as caught:
        run_jobs([job(tmp_path, epochs=400)], 1, kill)
    assert "exit code -9" in caught.value.what and "run out of memory" in caught.value.cause
    assert "--resume last" in caught.value.remedy
    assert (tmp_path / "checkpoint.pt").exists()


def test_an_interruption_ends_all_processes_at_once(tmp_path):
    jobs = [job(tmp_path / str(seed), seed, epochs=400) for seed in range(2)]

    def interrupt(done, total, text):
        if all((item.folder / "progress.txt").exists() for item in jobs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, 2, interrupt)
    assert not children(os.getpid())


@pytest.mark.parametrize("text", ["", "50% epoch 1", "50% epoch 1\n", "50% epoch 1\n100% epo"])
def test_half_a_line_of_progress_is_not_shown(tmp_path, text):
    (tmp_path / "progress.txt").write_text(text)
    shown = _newest([job(tmp_path)])
    assert shown == ("darts, seed 0, bounds x 1: " + ("50% epoch 1" if "\n" in text else ""))


def children(parent):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] != "Z" and "spawn_main" in command(entry.name):
                found.append(int(entry.name))
    return found


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


SEARCH = (
    "dca_nas", "--space", "nasbench201", "--space-option", "depth=1", "--max", "params=0.1M", "--seed", "3",
    "--set", "width=4", "--set", "resolution=8", "--set", "images=130", "--set", "batch=16", "--set", "epochs=6",
    "--set", "bounds=2", "--set", "judge_epochs=1", "--set", "checkpoint_steps=2", "--set", "share_rate=0.05", "--json",
)  # fmt: skip


def started(workspace, *arguments):
    line = [sys.executable, "-m", "hilnas.cli", "--workspace", str(workspace), "search", *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return json.loads(out)


def own_part(answer):
    """Return what of an answer depends on no clock: random search has as long as the search took."""
    measured = {"elapsed_s", "peak_bytes"}
    searches = [
        {
            **{key: value for key, value in item.items() if key not in measured},
            "history": [{k: v for k, v in row.items() if k not in measured} for row in item["history"]],
        }
        for item in answer["searches"]
    ]
    kept = ("winner", "score", "params", "feasible_share", "distinct", "failed", "constraints", "options", "explained")
    return searches, {key: answer[key] for key in kept}


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1][-500:]
        time.sleep(0.005)


def test_a_command_that_was_killed_goes_on_to_the_same_answer(tmp_path):
    whole, killed = (started(tmp_path / name, *SEARCH) for name in ("whole", "killed"))
    folder = tmp_path / "killed" / "studies"
    wait_for(lambda: any(folder.glob("*/*/progress.txt")), killed)
    family = children(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert family, "there were processes of the search"
    deadline = time.monotonic() + 10
    while any("spawn_main" in command(pid) for pid in family):
        assert time.monotonic() < deadline, "a process outlived the command"
        time.sleep(0.02)
    assert len(list(folder.glob("*/*/checkpoint.pt"))) >= 1 > len(list(folder.glob("*/*/result.json")))
    resumed = ended(started(tmp_path / "killed", "--resume", "last", "--json"))
    assert own_part(resumed) == own_part(ended(whole))
