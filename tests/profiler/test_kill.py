"""kill -9 at random moments: nothing is lost, nothing is measured twice, the database stays whole."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest


def hilnas(workspace, *arguments):
    return [sys.executable, "-m", "hilnas.cli", "--workspace", str(workspace), *arguments]


def profile(device, samples):
    return ("profile", device, "--space", "nasbench201", "--samples", str(samples), "--seed", "0", "--json")


def kill_and_resume(workspace, start, kills, longest_s):
    """Run a campaign that is killed `kills` times; return the summary of the last resume."""
    rng = random.Random(0)
    command = start
    killed = 0
    while killed < kills:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            process.wait(rng.uniform(0.6, longest_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        _, stderr = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), stderr.decode()
        assert integrity(workspace) == "ok"
        if runs(workspace):
            command = hilnas(workspace, "runs", "resume", "last", "--json")
        if process.returncode == 0:
            break
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def runs(workspace):
    path = workspace / "hilnas.db"
    if not path.exists():
        return []
    listed = subprocess.run(hilnas(workspace, "runs", "list", "--json"), capture_output=True, text=True, check=True)
    return json.loads(listed.stdout)["runs"]


def integrity(workspace):
    path = workspace / "hilnas.db"
    if not path.exists():
        return "ok"
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        connection.close()


def check(workspace, summary, n_workloads):
    assert summary["ok"] + summary["rejected"] == n_workloads and summary["pending"] == summary["failed"] == 0
    connection = sqlite3.connect(workspace / "hilnas.db")
    try:
        (planned,) = connection.execute("SELECT count(DISTINCT workload) FROM plans").fetchone()
        (measured,) = connection.execute(
            "SELECT count(DISTINCT workload) FROM invocations WHERE role = 'workload'"
        ).fetchone()
        (sequences, last) = connection.execute("SELECT count(*), max(sequence) FROM invocations").fetchone()
        (without,) = connection.execute(
            "SELECT count(*) FROM invocations WHERE id NOT IN (SELECT invocation FROM readings) AND status = 'ok'"
        ).fetchone()
    finally:
        connection.close()
    assert planned == measured == n_workloads
    assert sequences == last + 1 and without == 0
    exported = subprocess.run(
        hilnas(workspace, "runs", "export", "last", "--format", "csv"), capture_output=True, text=True, check=True
    )
    names = [line.split(",")[0] for line in exported.stdout.splitlines()[1:]]
    assert len(names) == len(set(names)) == n_workloads


def test_a_campaign_on_a_scripted_device_survives_kills(tmp_path):
    workspace = tmp_path / "w"
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "slow.toml").write_text('kind = "fake"\n[fake]\nsleep_s = 0.02\n')
    start = hilnas(
        workspace, "--configs", str(configs), "profile", "slow", "--space", "nasbench201", "--samples", "30", "--json"
    )
    summary = kill_and_resume(workspace, start, kills=5, longest_s=1.4)
    check(workspace, summary, 30)
    assert summary["invocations"] >= 150


@pytest.mark.slow
def test_a_campaign_on_this_machine_survives_twenty_kills(tmp_path):
    workspace = tmp_path / "w"
    start = hilnas(
        workspace, "profile", "local_cpu", "--space", "nasbench201", "--samples", "60", "--seed", "0", "--json"
    )
    summary = kill_and_resume(workspace, start, kills=20, longest_s=8.0)
    check(workspace, summary, 60)


def test_an_interrupt_leaves_a_campaign_that_can_be_resumed(tmp_path):
    workspace = tmp_path / "w"
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "slow.toml").write_text('kind = "fake"\n[fake]\nsleep_s = 0.05\n')
    start = hilnas(workspace, "--configs", str(configs), *profile("slow", 20))
    # A background job inherits an ignored SIGINT; a user at a terminal does not.
    process = subprocess.Popen(
        start,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and b"kept" in stderr
    (row,) = runs(workspace)
    assert row["state"] == "interrupted" and row["invocations"] > 0
    done = subprocess.run(hilnas(workspace, "runs", "resume", row["run_id"], "--json"), capture_output=True, text=True)
    assert json.loads(done.stdout)["ok"] == 20
