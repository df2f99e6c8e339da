"""`hilnas search radars` and its relatives as users type them: killed, resumed, bounded, refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from hilnas.cli import cli
from hilnas.errors import Infeasible, UnknownName, UsageError
from search_spaces.quantised_cnn import QuantisedCnn
from searchers._exploitation import _NOTHING, _read, _searched, _write
from searchers._picture_answer import remarks
from searchers.supernets import _layers
from searchers.supernets._base import Pictures, Task
from searchers.supernets.radars import Radars

SMALL = {
    **{"batch": 15, "short_epochs": 1, "full_epochs": 1, "dnas_epochs": 1},
    **{"rounds": 2, "episodes": 2, "samples": 2, "top": 2, "parallel": True, "augment": "none"},
}
PICTURES = {"width": 4, "resolution": 8, "images": 60, "judge_epochs": 1}
MEASURED = {"elapsed_s", "search_s", "peak_bytes"}
MIB = 2**20


def words(options):
    return [word for name, value in options.items() for word in ("--set", f"{name}={str(value).lower()}")]


def refused(tmp_path, *arguments):
    result = CliRunner().invoke(cli, ["--workspace", str(tmp_path / "w"), "search", *arguments, "--json"])
    return result.exception


class Here:
    """A differentiable search in this process."""

    def __init__(self, task):
        self._task = task
        task.folder.mkdir()
        _write(task, {**_NOTHING, **_searched(task, task.pictures.at(task.space.input_shape))})

    def result(self):
        return _read(self._task)


def descendants(pid):
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += [int(entry.parent.name), *descendants(int(entry.parent.name))]
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("radars") / "w"


@pytest.fixture(scope="module")
def resumed(workspace):
    """Return the answer of a command that was killed while it searched a supernet, and went on."""
    command = [sys.executable, "-m", "hilnas.cli", "--workspace", str(workspace), "search"]
    options = [*words(SMALL), *words(PICTURES), "--memory", "90MiB", "--seed", "3", "--json"]
    started = subprocess.Popen(
        [*command, "radars", "--space", "quantised_cnn", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: list(workspace.glob("studies/*/radars-seed3-x1/round1-1/checkpoint.pt")) or started.poll())
    finally:
        family = descendants(started.pid) if sys.platform == "linux" else []
        os.kill(started.pid, signal.SIGKILL)
        started.wait()
    assert len(family) >= 2 or sys.platform != "linux", "it searched in processes of its own"
    wait_until(lambda: not any(map(alive, family)), 15)
    done = subprocess.run([*command, "--resume", "last", "--json"], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.usefixtures("one_thread")
def test_after_kill_9_it_goes_on_to_what_a_search_that_nobody_disturbed_finds(resumed, tmp_path, monkeypatch):
    monkeypatch.setattr(_layers, "Running", Here)
    skeleton = {"width": 4, "resolution": 8, "classes": 10}
    task = Task(QuantisedCnn(), skeleton, Pictures(None, 60), {}, {}, seed=3, memory_bytes=90 * MIB)
    expected = Radars(task, **SMALL).run(tmp_path, lambda values, share: None)

    def plain(rows):
        return [{key: value for key, value in row.items() if key not in MEASURED} for row in rows]

    (search,) = resumed["searches"]
    assert plain(search["history"]) == json.loads(json.dumps(plain(expected.history)))
    assert [item["architecture"] for item in search["derived"]] == [item.text for item in expected.architectures]
    times = [row["elapsed_s"] for row in search["history"]]
    assert times == sorted(times) and search["elapsed_s"] == times[-1] and search["cause"] is None


def test_no_supernet_takes_more_than_it_may(resumed):
    searched = [row for row in resumed["searches"][0]["history"] if row.get("kind") == "searched"]
    assert len(searched) == 2
    for row in searched:
        assert 0 < row["peak_bytes"] < row["predicted_bytes"] <= 90 * MIB


def test_the_answer_holds_a_winner_judged_beside_random_search(resumed):
    assert resumed["winner"]["architecture"].startswith("quantised_cnn:")
    assert {"score", "random_search", "difference"} <= resumed.keys()


def test_what_searches_remark_is_told_once():
    def search(seed, cause, *remarks):
        return {"seed": seed, "factor": 1.0, "cause": cause, "history": [{"remark": text} for text in remarks] + [{}]}

    searches = [search(0, None, "a", "b"), search(1, "died", "a")]
    found = remarks({"searches": searches, "explained": {"macs": 1.0, "latency": 0.9}})
    assert found[:3] == ["a", "b", "seed 1, bounds x 1: died"] and len(found) == 4 and "90%" in found[3]


def test_what_has_ended_is_told_again_and_to_people_in_tables(resumed, workspace):
    arguments = ["--workspace", str(workspace), "search", "--resume", "last"]
    assert json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)["study_id"] == resumed["study_id"]
    shown = CliRunner().invoke(cli, arguments)
    assert shown.exception is None and "peak MiB" in shown.stdout and resumed["study_id"] in shown.stdout


def test_its_report_draws_what_was_left_of_the_space(resumed, workspace, tmp_path):
    path = tmp_path / "report.html"
    arguments = ["--workspace", str(workspace), "report", resumed["study_id"], "--output", str(path)]
    assert CliRunner().invoke(cli, arguments).exception is None
    text = path.read_text()
    for title in ("candidates left of each layer", "error against cost", "memory of supernets"):
        assert title in text


def test_a_whole_space_beyond_the_memory_ends_with_exit_code_3(tmp_path):
    options = words({"width": 10, "images": 60, "batch": 15})
    error = refused(tmp_path, "dnas", "--space", "mobilenet", "--memory", "100MiB", *options)
    assert isinstance(error, Infeasible) and error.exit_code == 3
    assert "126 candidates" in error.what and "allowed 100 MiB" in error.cause and "radars" in error.remedy


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        (("radars", "--space", "nasbench201"), UsageError, "no layers in a row"),
        (("radars", "--space", "quantised_cnn", "--memory", "90"), UsageError, "needs a unit"),
        (("radars", "--space", "quantised_cnn", "--set", "rounds=0"), UsageError, "at least 1"),
        (("radars", "--space", "quantised_cnn", "--set", "images=200", "--set", "batch=64"), UsageError, "batch of 64"),
        (("quantnas", "--space", "quantised_cnn", "--set", "merge=tuple"), UnknownName, "merge"),
        (("one_shot", "--space", "quantised_cnn", "--set", "relax=softmax"), UsageError, "one path at a time"),
        (("one_shot", "--space", "quantised_cnn", "--set", "rounds=3"), UnknownName, "rounds"),
        (("radars", "--space", "quantised_cnn", "--score", "nwot"), UsageError, "Leave --score out"),
    ],
)
def test_what_cannot_be_is_refused_before_the_search(tmp_path, arguments, kind, text):
    error = refused(tmp_path, *arguments)
    assert isinstance(error, kind) and text in str(error)
    assert not list((tmp_path / "w").glob("studies/*"))


def test_quantnas_samples_where_scores_are_named(tmp_path):
    options = ("--space", "nasbench201", "--score", "live_macs", "--max", "macs=30M", "--episodes", "3")
    result = CliRunner().invoke(cli, ["--workspace", str(tmp_path / "w"), "search", "quantnas", *options, "--json"])
    assert result.exception is None, result.exception
    answer = json.loads(result.stdout)
    assert answer["evaluations"] == 15 and answer["random_search"] and "searches" not in answer
