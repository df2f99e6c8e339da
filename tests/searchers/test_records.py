"""Studies on disk: complete after any kill, refused when damaged."""

import json
from dataclasses import replace

import pytest

from hilnas.errors import BadFile, UnknownName
from profiler._errors import DiskFull
from searchers._problem import Evaluation
from searchers._records import StudyLog, append_text, to_row


@pytest.fixture
def log(tmp_path):
    return StudyLog.create(tmp_path / "studies", {"searcher": "s", "space": "toy"})


def reopened(log, tmp_path):
    return StudyLog.open(tmp_path / "studies", log.study_id)


def test_evaluations_come_back_as_they_went_in(log, tmp_path, toy, evaluation):
    dead = Evaluation(toy.parse("011"), None, {}, {}, False, "dead", 0.0)
    bounded = Evaluation(
        toy.parse("211"), 0.1 + 0.2, {"latency": 1 / 3, "macs": 5.0}, {"latency": 0.5, "macs": 5.0}, True
    )
    items = [evaluation(), dead, bounded]
    log.append("s", 0, items[:2])
    log.append("s", 0, items[2:])
    log.append("random_search", 0, items[:1])
    found = reopened(log, tmp_path).recorded(toy)
    assert found == {("s", 0): items, ("random_search", 0): items[:1]}


def test_a_torn_last_line_costs_one_evaluation_and_the_next_one_is_whole(log, tmp_path, toy, evaluation):
    log.append("s", 0, [evaluation("111"), evaluation("211")])
    path = tmp_path / "studies" / f"{log.study_id}.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    again = reopened(log, tmp_path)
    assert again.recorded(toy) == {("s", 0): [evaluation("111")]}
    again.append("s", 0, [evaluation("311")])
    assert again.recorded(toy) == {("s", 0): [evaluation("111"), evaluation("311")]}


def test_the_answer_is_there_only_after_the_end(log, tmp_path):
    assert log.answer() is None
    running = json.loads((tmp_path / "studies" / f"{log.study_id}.json").read_text())
    assert running["state"] == "running"
    log.finish({"winner": None, "study_id": log.study_id})
    assert reopened(log, tmp_path).answer() == {
        "winner": None,
        "study_id": log.study_id,
        "request": {"searcher": "s", "space": "toy"},
    }
    assert not list((tmp_path / "studies").glob("*.partial"))


def test_last_is_the_newest_and_an_unknown_id_is_said(log, tmp_path):
    assert StudyLog.open(tmp_path / "studies", "last").study_id == log.study_id
    with pytest.raises(UnknownName, match="study"):
        StudyLog.open(tmp_path / "studies", "study-0")
    with pytest.raises(UnknownName):
        StudyLog.open(tmp_path / "nothing", "last")


def test_a_record_that_makes_no_sense_is_a_bad_file(log, tmp_path, toy):
    path = tmp_path / "studies" / f"{log.study_id}.jsonl"
    append_text(path, json.dumps({"searcher": "s", "seed": 0, "architecture": "toy:111"}) + "\n")
    with pytest.raises(BadFile):
        reopened(log, tmp_path).recorded(toy)
    path.write_text('{"schema_version": 99}\n')
    with pytest.raises(BadFile):
        reopened(log, tmp_path)


def test_rows_use_stored_names(evaluation):
    row = to_row(evaluation(latency_s=0.25))
    assert row["latency_s"] == 0.25
    assert "latency_s_bound" not in row
    assert row["architecture"] == "toy:111"


def test_a_full_disk_is_said_and_what_was_recorded_stays(log, tmp_path, toy, evaluation, monkeypatch):
    log.append("s", 0, [evaluation("111")])

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.open", full)
        with pytest.raises(DiskFull, match="No space left"):
            log.append("s", 0, [evaluation("211")])
    assert reopened(log, tmp_path).recorded(toy) == {("s", 0): [evaluation("111")]}


def test_what_may_not_win_stays_so(log, tmp_path, toy, evaluation):
    items = [replace(evaluation("111"), may_win=False), evaluation("211")]
    log.append("s", 0, items)
    assert reopened(log, tmp_path).recorded(toy) == {("s", 0): items}
