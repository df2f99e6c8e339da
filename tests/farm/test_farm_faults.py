"""Faults of boards: memory and disk run out, programs die, clocks and keys change."""

import time

import paramiko
import pytest

from farm import FarmUnavailable


@pytest.fixture
def small(farm):
    return farm.add("small", memory="96m", disk="32m", runtime=False)


def test_memory_is_limited(small, login):
    with login(small) as board:
        done = board.run("""python3 -c 'data = b"x" * (400 << 20); print(len(data))'; echo status $?""")
        assert done.output == "status 137\n"
        assert board.run("echo alive").output == "alive\n"


def test_a_disk_fills_and_is_freed(small, login):
    with login(small) as board, board.files() as files:
        assert int(board.run("df --output=size -B1 / | tail -1").output) == 32 << 20
        small.fill_disk()
        with pytest.raises(OSError, match="Failure"), files.open("/home/board/data", "wb") as file:
            file.write(bytes(100_000))
        assert "No space left" in board.run("echo text > ~/text").errors
        small.free_disk()
        small.fill_disk(leave_bytes=1 << 20)
        assert board.run("head -c 500000 /dev/zero > ~/data").status == 0
        assert board.run("head -c 2000000 /dev/zero > ~/data").status == 1
        small.free_disk()


def test_a_frozen_board_says_nothing_and_goes_on_when_thawed(small, login):
    with login(small) as board:
        small.freeze()
        with pytest.raises((TimeoutError, paramiko.SSHException)):
            board.run("echo 1", timeout_s=0.5)
        small.thaw()
        assert board.run("echo 2").output == "2\n"
        small.freeze()
    small.power_off()
    assert not small.is_on


def test_another_host_key_is_noticed(small, login):
    with login(small) as standing:
        small.change_host_key()
        with pytest.raises(paramiko.BadHostKeyException), login(small):
            pass
        assert standing.run("echo on").output == "on\n"
        small.change_host_key(known=True)
    with login(small) as board:
        assert board.run("true").status == 0


def test_a_login_is_refused_and_let_in_again(small, login):
    small.refuse_login()
    with pytest.raises(paramiko.AuthenticationException), login(small):
        pass
    small.refuse_login(False)
    with login(small) as board:
        assert board.run("true").status == 0


def test_foreign_load_takes_the_processor(small, login):
    def busy_s():
        rows = small.run(["ps", "-o", "user=,times=,args=", "-U", "1002"]).stdout.splitlines()
        return [row.split()[:2] for row in rows if row.endswith("foreign-load")]

    small.add_foreign_load(2)
    assert len(busy_s()) == 2
    assert {process.user for process in small.processes()} == {"other"}
    deadline_s = time.monotonic() + 20
    while not sum(int(seconds) for _, seconds in busy_s()) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert sum(int(seconds) for _, seconds in busy_s()) >= 1
    small.stop_foreign_load()
    assert small.processes() == []


def test_a_corrupt_board_spoils_every_seventh_line(small, login):
    command = """python3 -u -c 'for i in range(70): print("{\\"line\\": %d}" % i)'"""
    with login(small) as board:
        clean = board.run(command).output.splitlines()
        small.corrupt()
        spoilt = board.run(command).output.splitlines()
        assert board.run("echo 'import sys; sys.exit(3)' | python3").status == 3
        small.corrupt(False)
        assert board.run(command).output.splitlines() == clean
    assert clean != spoilt
    assert [line for number, line in enumerate(clean, 1) if number % 7] == [
        line for line in spoilt if line in set(clean)
    ]


def test_the_wall_clock_is_skewed_and_the_other_is_not(small, login):
    read = "python3 -c 'import time; print(time.time(), time.monotonic())'"
    with login(small) as board:
        try:
            small.skew_clock(-3600)
        except FarmUnavailable as error:
            pytest.skip(str(error))
        for command in (read, read.replace("python3", "env -i PATH=/etc/farm/bin python3")):
            wall_s, monotonic_s = map(float, board.run(command).output.split())
            assert abs(time.time() - 3600 - wall_s) < 60
            assert monotonic_s >= 0
        before_s = float(board.run(read).output.split()[1])
        assert float(board.run(read).output.split()[1]) - before_s < 60
        assert abs(float(board.run("date +%s").output) - time.time() + 3600) < 60
        small.skew_clock(0)
        assert abs(float(board.run(read).output.split()[0]) - time.time()) < 60


def test_a_plain_board_cannot_throttle(small):
    with pytest.raises(FarmUnavailable, match="no throttling"):
        small.throttle(True)
