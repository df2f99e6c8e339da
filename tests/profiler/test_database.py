"""The records: durable, honest about what they cannot be, migrated."""

import sqlite3

import numpy as np
import pytest

from hilnas.errors import BadFile, UnknownName
from hilnas.records import Environment, MeasurementProtocol, Reading, Run, Workload
from profiler._database import Database, translated
from profiler._errors import DiskFull, NewerDatabase
from profiler._migrations import MIGRATIONS
from profiler._workspace import Workspace

WORKLOAD = Workload("nasbench201:x", "architecture", (1, 3, 32, 32))
ENVIRONMENT = Environment({"cpu": "x"})


@pytest.fixture
def workspace(tmp_path):
    with Workspace.open(tmp_path / "w") as opened:
        yield opened


def campaign(workspace, device="fake", environment=ENVIRONMENT):
    run_id = workspace.store.create_campaign(device, {}, "nasbench201", MeasurementProtocol(), 0, [WORKLOAD])
    workspace.store.set_state(run_id, "running", environment)
    return run_id


def add(workspace, run_id, sequence, seconds, environment=ENVIRONMENT):
    run = Run(WORKLOAD, "ok", (Reading("latency_s", (seconds, seconds)),))
    workspace.store.add_run(
        run_id,
        run,
        sequence=sequence,
        attempt=1,
        role="workload",
        artifact="a",
        environment=environment.key,
        elapsed_s=1.0,
    )


def test_a_run_comes_back_as_it_was_stored(workspace):
    run_id = campaign(workspace)
    for i in range(5):
        add(workspace, run_id, i, 0.25)
    (found,) = workspace.store.judged(run_id)
    assert (found.workload, found.status, found.latency_s, found.invocations) == (WORKLOAD, "ok", 0.25, 5)
    assert workspace.store.campaign("last").run_id == run_id
    assert workspace.store.campaign(run_id).wall_s == 5.0
    assert workspace.store.environment_facts(ENVIRONMENT.key) == {"cpu": "x"}


def test_nothing_is_stored_twice(workspace):
    run_id = campaign(workspace)
    add(workspace, run_id, 0, 1.0)
    with pytest.raises(sqlite3.IntegrityError):
        add(workspace, run_id, 0, 1.0)
    assert len(workspace.store.invocations(run_id)[WORKLOAD.key]) == 1


def test_ok_and_a_cause_exclude_each_other_in_the_database_itself(workspace):
    run_id = campaign(workspace)
    add(workspace, run_id, 0, 1.0)
    with pytest.raises(sqlite3.IntegrityError), workspace.store.database.write() as connection:
        connection.execute("UPDATE invocations SET cause = 'but' WHERE run_id = ?", (run_id,))
    with pytest.raises(sqlite3.IntegrityError), workspace.store.database.write() as connection:
        connection.execute("UPDATE invocations SET status = 'failed' WHERE run_id = ?", (run_id,))


def test_measurements_of_different_environments_are_never_mixed(workspace):
    other = Environment({"cpu": "y"})
    first = campaign(workspace)
    for i in range(5):
        add(workspace, first, i, 1.0)
    assert [item.latency_s for item in workspace.store.measurements("fake")] == [1.0]
    second = campaign(workspace, environment=other)
    for i in range(5):
        add(workspace, second, i, 3.0, other)
    assert [item.latency_s for item in workspace.store.measurements("fake")] == [3.0]
    assert list(workspace.store.invocation_medians("fake").values()) == [[3.0] * 5]
    assert workspace.store.measurements("fake", kind="block") == []
    campaign(workspace, environment=ENVIRONMENT)  # the device is what it was at first: its own numbers count again
    assert [item.latency_s for item in workspace.store.measurements("fake")] == [1.0]


def test_an_unknown_run_is_suggested(workspace):
    run_id = campaign(workspace)
    with pytest.raises(UnknownName) as caught:
        workspace.store.campaign(run_id[:-1] + "x")
    assert run_id in caught.value.cause


def test_opening_twice_migrates_once(tmp_path):
    for _ in range(2):
        database = Database(tmp_path / "hilnas.db")
        names = [row["name"] for row in database.read("SELECT name FROM _migrations ORDER BY rowid")]
        assert names == [migration.__name__ for migration in MIGRATIONS]
        database.close()


def test_a_database_of_an_older_version_is_migrated(tmp_path, monkeypatch):
    path = tmp_path / "hilnas.db"
    monkeypatch.setattr("profiler._database.MIGRATIONS", MIGRATIONS[:1])
    Database(path).close()
    monkeypatch.setattr("profiler._database.MIGRATIONS", MIGRATIONS)
    database = Database(path)
    assert database.read("SELECT count(*) AS n FROM reference_tables")[0]["n"] == 0
    database.close()


def test_what_an_older_version_called_peak_was_that_of_the_whole_process(tmp_path, monkeypatch):
    (tmp_path / "w").mkdir()
    path = tmp_path / "w" / "hilnas.db"
    monkeypatch.setattr("profiler._database.MIGRATIONS", MIGRATIONS[:3])
    old = Database(path)
    with old.write() as connection:
        connection.execute("INSERT INTO environments VALUES (?, '{}')", (ENVIRONMENT.key,))
        connection.execute("INSERT INTO workloads VALUES (?, ?, 'model', '[1]', 'float32', '{}', '')", ("k", "model:x"))
        connection.execute(
            "INSERT INTO campaigns (run_id, device, config, protocol, seed, version, created_at, state)"
            " VALUES ('r', 'fake', '{}', '{}', 0, '0', '', 'finished')"
        )
        connection.execute(
            "INSERT INTO invocations VALUES (7, 'r', 0, 'k', 'workload', 1, 'ok', NULL, 0, 1, '', '', 1.0, 1.0, NULL,"
            " ?, '{}', '{}')",
            (ENVIRONMENT.key,),
        )
        for name in ("peak_bytes", "latency_s"):
            connection.execute("INSERT INTO readings VALUES (7, ?, ?)", (name, np.array([5.0], "<f8").tobytes()))
    old.close()
    monkeypatch.setattr("profiler._database.MIGRATIONS", MIGRATIONS)
    with Workspace.open(tmp_path / "w") as workspace:
        ((found,),) = workspace.store.recorded("r").values()
    assert found.purpose == "latency"
    assert found.readings == {"process_peak_bytes": (5.0,), "latency_s": (5.0,)}


def test_a_purpose_is_one_of_three_in_the_database_itself(workspace):
    run_id = campaign(workspace)
    add(workspace, run_id, 0, 1.0)
    with pytest.raises(sqlite3.IntegrityError), workspace.store.database.write() as connection:
        connection.execute("UPDATE invocations SET purpose = 'fun' WHERE run_id = ?", (run_id,))


def test_a_newer_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "hilnas.db"
    database = Database(path)
    with database.write() as connection:
        connection.execute("INSERT INTO _migrations VALUES ('m999_future', 'now')")
    database.close()
    before = path.read_bytes()
    with pytest.raises(NewerDatabase, match="newer hilnas"):
        Database(path)
    assert path.read_bytes() == before


def test_a_foreign_database_is_refused(tmp_path):
    path = tmp_path / "hilnas.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE shopping (item TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(BadFile, match="none of hilnas"):
        Database(path)


@pytest.mark.parametrize("content", [b"this is no database at all" * 200, b"SQLite format 3\x00" + b"\x01" * 4096])
def test_a_damaged_database_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "hilnas.db"
    path.write_bytes(content)
    with pytest.raises(BadFile):
        Database(path)
    assert path.read_bytes() == content


def test_a_full_disk_is_said_and_what_was_stored_is_kept(workspace):
    run_id = campaign(workspace)
    add(workspace, run_id, 0, 1.0)
    connection = workspace.store.database.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    big = Run(WORKLOAD, "ok", (Reading("latency_s", (1.0,) * 200_000),))
    with pytest.raises(DiskFull) as caught:
        workspace.store.add_run(
            run_id,
            big,
            sequence=1,
            attempt=1,
            role="workload",
            artifact=None,
            environment=ENVIRONMENT.key,
            elapsed_s=1.0,
        )
    assert "resume" in caught.value.remedy
    connection.execute("PRAGMA max_page_count = 1000000")
    assert len(workspace.store.invocations(run_id)[WORKLOAD.key]) == 1


def test_a_workspace_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadFile, match="cannot be used"):
        Workspace.open(tmp_path / "file")


def test_every_error_of_sqlite_is_translated(tmp_path):
    for error in (sqlite3.OperationalError("disk I/O error"), sqlite3.OperationalError("database is locked")):
        with pytest.raises(Exception) as caught, translated(tmp_path):
            raise error
        assert not isinstance(caught.value, sqlite3.Error)
