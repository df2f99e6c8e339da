"""Boards over a real sshd: measuring goes on through lost connections and dead agents, and leaves nothing behind."""

import hashlib
import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from devices._board_link import BoardLink
from devices._conversation import Conversation
from devices._errors import BoardFull, DeviceBusy, HostKeyRefused, RuntimeMissing
from devices.ssh_linux import SshLinux
from hilnas.deadline import Deadline
from hilnas.records import Artifact, MeasurementProtocol, Workload
from search_spaces._recipe import to_onnx_and_recipe
from search_spaces.nasbench201 import NasBench201

QUICK = replace(MeasurementProtocol(), min_warmup_s=0.02, min_measure_s=0.1, max_measure_s=0.2, timeout_s=20.0)
SLOW = replace(QUICK, min_measure_s=2.0, max_measure_s=2.5)


def artifact_of(folder, seed=0, whole=False):
    space = NasBench201(width=8, depth=1)
    architecture = space.sample_distinct(1, seed)[0]
    data, recipe = to_onnx_and_recipe(space.graph(architecture))
    digest = hashlib.sha256(data).hexdigest()
    path, recipe_path = folder / f"{digest}.onnx", folder / f"{digest}.recipe"
    path.write_bytes(data)
    recipe_path.write_bytes(recipe)
    workload = Workload(architecture.text, "architecture", space.input_shape)
    return Artifact(workload, "onnxruntime", digest, len(data), str(path), None if whole else str(recipe_path))


def agents(board):
    """Return the processes of agents that were started from a board's home."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z" and any(str(board.home).encode() in word for word in words) and b"sh" not in words[0][-3:]:
                found.append(int(entry.name))
    return found


def wait_until(true, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return False


def test_models_travel_as_recipes_and_are_the_same_bytes(sshd, tmp_path):
    artifact = artifact_of(tmp_path)
    with SshLinux(sshd.config()).session(Deadline.after(60)) as session:
        assert session.measure(artifact, QUICK).status != "failed"
    blob = sshd.home / ".cache/hilnas/blobs" / artifact.sha256[:2] / f"{artifact.sha256}.onnx"
    assert blob.read_bytes() == Path(artifact.path).read_bytes()
    assert Path(artifact.recipe_path).stat().st_size < 20_000


def test_a_users_own_model_is_sent_whole_and_once(sshd, tmp_path):
    artifact = artifact_of(tmp_path, 1, whole=True)
    with SshLinux(sshd.config()).session(Deadline.after(60)) as session:
        runs = list(session.measure_many([artifact, artifact_of(tmp_path, 2), artifact], QUICK))
    assert all(run.status != "failed" for run in runs)
    assert not list((sshd.home / ".cache/hilnas").rglob("*.part"))


def test_a_damaged_recipe_is_a_failed_candidate_and_the_next_is_measured(sshd, tmp_path):
    bad = artifact_of(tmp_path, 3)
    Path(bad.recipe_path).write_bytes(b"no recipe")
    with SshLinux(sshd.config()).session(Deadline.after(60)) as session:
        runs = list(session.measure_many([bad, artifact_of(tmp_path, 4)], QUICK))
    assert runs[0].status == "failed" and runs[0].cause.startswith("stage:")
    assert runs[1].status != "failed"


def test_a_lost_connection_is_taken_up_and_the_same_is_asked_again(own_sshd, tmp_path):
    wanted = [artifact_of(tmp_path, seed) for seed in range(3)]
    with SshLinux(own_sshd.config()).session(Deadline.after(60)) as session:
        threading.Timer(1.0, own_sshd.cut).start()
        runs = list(session.measure_many(wanted, SLOW))
        events = session.drain_events()
    assert [run.workload for run in runs] == [item.workload for item in wanted]
    assert all(run.status != "failed" for run in runs)
    assert [event.kind for event in events] == ["connection"]
    assert wait_until(lambda: not agents(own_sshd))


def test_a_board_that_is_away_for_a_while_is_waited_for(own_sshd, tmp_path):
    def away():
        own_sshd.stop()
        time.sleep(1.5)
        own_sshd.start()

    with SshLinux(own_sshd.config()).session(Deadline.after(60)) as session:
        assert session.measure(artifact_of(tmp_path), QUICK).status != "failed"
        thread = threading.Thread(target=away)
        thread.start()
        time.sleep(0.3)
        run = session.measure(artifact_of(tmp_path, 1), QUICK)
        thread.join()
    assert run.status != "failed"


def test_a_killed_agent_is_a_failed_run_and_a_new_one_goes_on(own_sshd, tmp_path):
    with SshLinux(own_sshd.config()).session(Deadline.after(60)) as session:
        assert session.measure(artifact_of(tmp_path), QUICK).status != "failed"
        for pid in agents(own_sshd):
            os.kill(pid, signal.SIGKILL)
        lost = session.measure(artifact_of(tmp_path), QUICK)
        again = session.measure(artifact_of(tmp_path), QUICK)
    assert lost.status == "failed" and lost.transient and lost.cause.startswith("agent:")
    assert again.status != "failed"
    assert wait_until(lambda: not agents(own_sshd))


def test_nothing_is_left_when_the_session_ends_or_its_controller_vanishes(own_sshd, tmp_path):
    with SshLinux(own_sshd.config()).session(Deadline.after(60)) as session:
        session.measure(artifact_of(tmp_path), QUICK)
        assert len(agents(own_sshd)) >= 3  # supervisor, template, stager
    assert wait_until(lambda: not agents(own_sshd))
    assert not list((own_sshd.home / ".cache/hilnas/run").iterdir())


def test_a_changed_host_key_stops_the_campaign_before_anything_is_sent(own_sshd, tmp_path):
    with SshLinux(own_sshd.config()).session(Deadline.after(60)) as session:
        session.measure(artifact_of(tmp_path), QUICK)
        own_sshd.stop()
        own_sshd.change_host_key(known=False)
        own_sshd.start()
        with pytest.raises(HostKeyRefused, match="HAS CHANGED"):
            session.measure(artifact_of(tmp_path), QUICK)


def test_a_second_user_is_told_who_holds_the_board(sshd, tmp_path):
    with (
        SshLinux(sshd.config()).session(Deadline.after(60)),
        pytest.raises(DeviceBusy) as caught,
        SshLinux(sshd.config("other")).session(Deadline.after(60)),
    ):
        pass
    assert "@" in caught.value.cause and "until" in caught.value.cause


def test_a_silent_controller_loses_its_lease(own_sshd):
    link = BoardLink(own_sshd.config(ssh={"lease_s": 10.0}))
    link.claim = {**link.claim, "lease_s": 1.0}
    conversation = Conversation("loop", link.start(Deadline.after(30)), Deadline.after(30))
    assert conversation.ask({"op": "begin", "token": "t", **link.claim}, Deadline.after(30)).ok
    with pytest.raises(DeviceBusy), SshLinux(own_sshd.config("other")).session(Deadline.after(60)):
        pass
    assert wait_until(lambda: not agents(own_sshd))
    with SshLinux(own_sshd.config("other")).session(Deadline.after(60)):
        pass
    link.close()


def test_leftovers_of_a_killed_supervisor_are_cleaned_by_the_next(own_sshd, tmp_path):
    config = own_sshd.config()
    with SshLinux(config).session(Deadline.after(60)) as session:
        session.measure(artifact_of(tmp_path), QUICK)
        notes = list((own_sshd.home / ".cache/hilnas/run").glob("*.json"))
        groups = json.loads(notes[0].read_text())["groups"]
        assert len(groups) == 2
        os.kill(int(notes[0].stem), signal.SIGKILL)
        session.measure(artifact_of(tmp_path), QUICK)  # the loss
        session.measure(artifact_of(tmp_path), QUICK)
        assert not notes[0].exists()
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid, _ in groups))


def test_a_missing_runtime_is_named_with_the_wheel_that_fits(sshd):
    device = SshLinux(sshd.config(ssh={"python": "/usr/bin/python3"}))
    checks = device.checks()
    runtime = next(check for check in checks if check.name == "runtime")
    if runtime.ok:
        pytest.skip("the system's Python has onnxruntime")
    assert "pip download" in runtime.remedy and "--install-runtime" in runtime.remedy
    with pytest.raises(RuntimeMissing):
        device.probe()


def test_no_room_on_the_board_is_said(sshd, tmp_path):
    artifact = replace(artifact_of(tmp_path, 9, whole=True), size_bytes=2**50)
    with (
        SshLinux(sshd.config()).session(Deadline.after(60)) as session,
        pytest.raises(BoardFull, match="no room"),
    ):
        session.measure(artifact, QUICK)


def test_an_agent_that_was_damaged_on_the_board_is_sent_again(own_sshd, tmp_path):
    device = SshLinux(own_sshd.config())
    first = device.probe()
    agent = next((own_sshd.home / ".cache/hilnas/agent").iterdir())
    data = bytearray(agent.read_bytes())
    data[100] ^= 0xFF
    agent.write_bytes(data)
    with device.session(Deadline.after(60)) as session:
        runs = [session.measure(artifact_of(tmp_path), QUICK) for _ in range(2)]
        assert session.environment == first
    assert runs[-1].status != "failed"
