"""Parts of the farm that need no board."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import Farm, FarmUnavailable, _cgroups, _needs, faces
from farm._cgroups import ControlGroup, Limits
from farm._host import Running, running, spawn, wait_until
from farm._processes import emulated
from farm._state import BoardState
from farm._wire import Wire


def test_control_groups_of_version_two(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("memory cpuset pids")
    (tmp_path / "cgroup.subtree_control").write_text("")
    folder = tmp_path / "board"
    folder.mkdir()
    names = ("memory.max", "memory.swap.max", "pids.max", "cpuset.cpus", "cgroup.freeze")
    for name in names:
        (folder / name).write_text("")
    group = ControlGroup("board", tmp_path)
    assert group.create(Limits("64m", "1", 99)) == [str(folder / "cgroup.procs")]
    assert [(folder / name).read_text() for name in names[:4]] == ["64m", "0", "99", "1"]
    group.freeze(True)
    assert (folder / "cgroup.freeze").read_text() == "1"


def test_control_groups_of_version_one(tmp_path):
    for controller, names in {"memory": ["memory.limit_in_bytes"], "cpuset": ["cpuset.cpus", "cpuset.mems"]}.items():
        (tmp_path / controller / "board").mkdir(parents=True)
        (tmp_path / controller / "cgroup.procs").write_text("")
        for name in names:
            (tmp_path / controller / name).write_text("0-3\n")
            (tmp_path / controller / "board" / name).write_text("")
    files = ControlGroup("board", tmp_path).create(Limits("64m"))
    assert files == [str(tmp_path / name / "board/cgroup.procs") for name in ("memory", "cpuset")]
    assert (tmp_path / "memory/board/memory.limit_in_bytes").read_text() == "64m"
    assert (tmp_path / "cpuset/board/cpuset.cpus").read_text() == "0-3"


def test_without_control_groups_there_are_no_limits(tmp_path):
    group = ControlGroup("board", tmp_path)
    assert group.create(Limits()) == []
    with pytest.raises(FarmUnavailable, match="frozen"):
        group.freeze(True)
    group.remove()


def test_packages_are_named_for_what_is_missing():
    assert _needs.missing_packages({"no-such-command": "no-such-package", "sh": "dash"}) == ["no-such-package"]


@given(st.lists(st.floats(0, 10), max_size=50), st.floats(0, 1), st.floats(0, 1e7))
def test_a_wire_keeps_order_delay_and_all_packets(times, delay_s, rate_bit_s):
    wire = Wire(3, 4, delay_s, 0, 0)
    for number, at_s in enumerate(sorted(times)):
        wire.take(3, bytes([number]), at_s)
    assert wire.due(min(times, default=0) + delay_s - 1e-6) == []
    assert wire.due(10 + delay_s) == [(4, bytes([number])) for number in range(len(times))]


def test_a_wire_paces_and_drops_what_its_queue_cannot_hold():
    wire = Wire(3, 4, 0.0, 8000.0, 0.0)  # 1000 bytes a second
    for number in range(10):
        wire.take(3, bytes([number]) * 100, 0.0)
    assert len(wire.due(0.35)) == 3
    assert len(wire.due(10.0)) == 2  # those that would have waited longer than 0.4 s are lost
    assert wire.due(100.0) == []


def test_a_wire_that_loses_everything_delivers_nothing():
    wire = Wire(3, 4, 0.0, 0.0, 1.0)
    wire.take(4, b"x", 0.0)
    assert wire.due(1.0) == []
    assert wire.idle_s(1.0) > 0


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["/usr/libexec/qemu-binfmt/aarch64-binfmt-P", "/bin/bash", "bash", "-c", "true"], ["bash", "-c", "true"]),
        (["sleep", "1"], ["sleep", "1"]),
        ([""], [""]),
    ],
)
def test_emulated_command_lines(words, seen):
    assert emulated(words) == seen


def test_a_process_is_told_from_a_later_one_with_its_number(tmp_path):
    process = spawn(["sleep", "60"], tmp_path / "log")
    assert process.alive
    assert not Running(process.pid, "1").alive
    process.kill()
    assert not process.alive
    assert not running(process.pid).alive
    process.kill()


def test_waiting_in_vain_is_an_error():
    from farm import FarmFailure

    with pytest.raises(FarmFailure, match="in vain for a miracle"):
        wait_until(lambda: False, 0.01, "a miracle")


def test_a_state_survives_its_file(tmp_path, monkeypatch):
    from farm import _state

    monkeypatch.setattr(_state, "FARMS", tmp_path)
    state = BoardState("f", "b", "pi5", 7, True, Limits("1g", "0"), init=Running(1, "2"))
    state.save()
    assert _state.load_state(tmp_path / "f" / "b") == state
    assert state.changed(is_cut=True).is_cut
    assert _state.load_state(tmp_path / "f" / "b").is_cut
    assert state.link.address == "10.231.0.30"


def test_spoilt_output_keeps_input_and_status():
    program = [sys.executable, str(faces.PROGRAMS / "garble.py"), "2", "sh", "-c", "cat; exit 5"]
    done = subprocess.run(program, input=b'{"a": 1}\n' * 8, capture_output=True)
    lines = done.stdout.split(b"\n")
    assert done.returncode == 5
    assert lines[0] == b'{"a": 1}'
    assert done.stdout.count(b'{"a": 1}\n') < 8
    assert b"\x00" in done.stdout


def test_no_controller_is_forgotten_when_groups_are_removed(tmp_path):
    for controller in _cgroups._CONTROLLERS:
        (tmp_path / controller / "board").mkdir(parents=True)
    group = ControlGroup("board", tmp_path)
    group.remove()
    assert group.folders() == []


def test_without_root_it_says_so(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "root" in _needs.why_unavailable()
    with pytest.raises(FarmUnavailable, match="root"), Farm() as farm:
        farm.add("pc")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(_needs, "_TOOLS", {"no-such-command": "no-such-package"})
    assert _needs.why_unavailable() == "commands are missing; run: apt-get install no-such-package"
