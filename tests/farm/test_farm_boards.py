"""Boards boot, let their user in, are apart from each other, keep and lose what real ones do, leave nothing behind."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import paramiko
import pytest

from farm import Farm, FarmFailure, FarmUnavailable
from farm._host import STATE, attempt, wait_until
from farm._network import PREFIX, guarded
from hilnas.errors import UnknownName, UsageError


def remains(farm_name):
    """Return everything on the machine that bears a farm's name."""
    found = list(Path("/run/netns").glob(f"hilnas-farm.{farm_name}.*"))
    found += Path("/sys/fs/cgroup").glob(f"*/hilnas-farm.{farm_name}.*")
    found += Path("/sys/fs/cgroup").glob(f"hilnas-farm.{farm_name}.*")
    found += (STATE / "farms").glob(farm_name)
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{farm_name}/" in line]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if f"hilnas-farm.{farm_name}." in text or f"/{farm_name}/" in text:
            found.append(text)
    return found


def appeared(board, command):
    """Return a board's processes with a command line, once there are any."""

    def found():
        return [process for process in board.processes() if process.command == command]

    wait_until(found, 10, command)
    return found()


def test_the_user_logs_in_and_is_no_administrator(pi, login):
    with login(pi) as board:
        assert board.run("id -un; id -u; hostname; pwd").output.split() == ["board", "1001", "pi", "/home/board"]
        assert board.run("cat /etc/shadow").status == 1


def test_host_keys_differ(pi, orin):
    keys = [paramiko.HostKeys(str(board.known_hosts)).lookup(board.address) for board in (pi, orin)]
    assert keys[0]["ssh-ed25519"] != keys[1]["ssh-ed25519"]


def test_openssh_itself_finds_the_alias(pi):
    done = subprocess.run(
        ["ssh", "-F", str(pi.ssh_config), "-o", "BatchMode=yes", "pi", "uname", "-n"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "pi\n")


def test_boards_see_neither_each_other_nor_the_machine(pi, orin, login):
    with login(pi) as first, login(orin) as second:
        first.run("echo mine > /home/board/note; echo mine > /tmp/note")
        assert second.run("ls /home/board/note /tmp/note").status == 2
        first.run("(exec -a only-here sleep 60) > /dev/null 2>&1 & echo")
        assert appeared(pi, "only-here 60")
        assert "only-here" not in second.run("ps ax -o args").output
        assert pi.kill("^only-here") == 1
        assert first.run(f"ls {Path(__file__).parent}").status == 2
        assert first.run("ls /work /var/cache/hilnas-farm /run/hilnas-farm").status == 2


def test_processes_show_user_and_number_on_the_board(pi, login):
    with login(pi) as board:
        pid = int(board.run("sleep 71 > /dev/null 2>&1 & echo $!").output)
        (found,) = appeared(pi, "sleep 71")
        assert (found.pid, found.user) == (pid, "board")
        assert pi.kill("^sleep 71$", signal.SIGTERM) == 1
    assert not [process for process in pi.processes() if "sshd" in process.command]


def test_reboot_changes_the_boot_and_keeps_the_home(pi, login):
    with login(pi) as board:
        before = board.run("cat /proc/sys/kernel/random/boot_id").output
        board.run("echo kept > ~/kept; echo lost > /tmp/lost")
        pi.reboot()
    with login(pi) as board:
        assert board.run("cat ~/kept; ls /tmp").output == "kept\n"
        after = board.run("cat /proc/sys/kernel/random/boot_id").output
        uptime_s = float(board.run("cat /proc/uptime").output.split()[0])
    assert before != after == pi.boot_id + "\n"
    if Path("/proc/self/ns/time").exists():
        assert uptime_s < 300


def test_a_board_that_is_off_is_off(farm, login):
    board = farm.add("pc", runtime=False)
    board.power_off()
    assert not board.is_on
    assert board.processes() == []
    with pytest.raises(FarmFailure, match="pc is off"):
        board.run(["true"])
    with pytest.raises(OSError):
        socket.create_connection((board.address, board.port), 5).close()
    board.power_on()
    with login(board) as session:
        assert session.run("true").status == 0


def test_sudo_comes_in_two_forms(pi, orin, login):
    with login(pi) as without, login(orin) as with_sudo:
        refused = without.run("sudo -n true")
        assert (refused.status, "password is required" in refused.errors) == (1, True)
        assert with_sudo.run("sudo -n id -u").output == "0\n"


def test_even_root_cannot_touch_the_machine(orin, login):
    with login(orin) as board:
        assert board.run("sudo -n date -s 2001-01-01").status != 0
        assert board.run("sudo -n sysctl -w kernel.panic=1").status != 0
        assert board.run("sudo -n mount -t tmpfs none /mnt").status != 0
    assert time.time() > 1.7e9


def test_the_runtime_is_there_hidden_broken_and_back(pi, login):
    command = "python3 -I -c 'import onnxruntime, numpy; print(onnxruntime.get_available_providers())'"
    with login(pi) as board:
        assert "CPUExecutionProvider" in board.run(command).output
        pi.hide_runtime(True)
        assert "ModuleNotFoundError: No module named 'onnxruntime'" in board.run(command).errors
        pi.break_runtime()
        assert "invalid ELF header" in board.run(command).errors
        pi.hide_runtime(False)
        assert board.run(command).status == 0


def test_a_container_has_its_own_home_and_the_only_runtime(farm, login):
    board = farm.add("pc", container=True)
    with login(board) as session:
        assert session.run("python3 -I -c 'import onnxruntime'").status == 1
        inside = "docker exec -i -e WHO=me ml env LC_ALL=C python3 -I -c"
        assert session.run(f"{inside} 'import onnxruntime'").status == 0
        assert session.run(f"""{inside} 'import os; print(os.path.expanduser("~"), os.environ["WHO"])'""").output == (
            "/container-home me\n"
        )
        assert session.run("echo hello | docker exec -i ml cat").output == "hello\n"
        assert session.run("docker inspect -f '{{.State.Running}}' ml").output == "true\n"
        missing = session.run("docker exec -i other true")
        assert (missing.status, "No such container: other" in missing.errors) == (1, True)


def test_nothing_is_left(needs_farm):
    with Farm() as farm:
        board = farm.add("pc", runtime=False)
        board.shape(delay_s=0.001)
        board.add_foreign_load()
        assert remains(farm.name)
        fail_inside(farm)
    assert remains(farm.name) == []
    with pytest.raises(ZeroDivisionError), Farm() as farm:
        farm.add("pc", runtime=False)
        raise ZeroDivisionError
    assert remains(farm.name) == []


def fail_inside(farm):
    """A board that cannot be made leaves nothing, and disturbs no other."""
    with pytest.raises(FarmFailure):
        farm.add("bad", disk="1k", runtime=False)
    assert [board.name for board in farm.boards()] == ["pc"]


def test_a_killed_farm_can_be_taken_down(needs_farm):
    script = "import os, farm\nwith farm.Farm('killed') as f:\n f.add('pc', runtime=False); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = Farm("killed")
    assert left.is_orphaned
    assert left.board("pc").is_on
    left.down()
    assert remains("killed") == []
    left.down()


def test_bad_requests_are_refused(needs_farm, farm):
    with pytest.raises(UsageError, match="not a name"):
        Farm("../escape")
    with pytest.raises(UsageError, match="not a name"):
        farm.add("Pi 5")
    with pytest.raises(UsageError, match="not a size"):
        farm.add("pc", disk="much")
    with pytest.raises(UnknownName, match="unknown face"):
        farm.add("pi", face="pi6")
    with pytest.raises(UnknownName, match="unknown stand-in board"):
        farm.board("pi")
    with pytest.raises(FarmUnavailable, match="no sudo"):
        farm.add("pi", face="arm64", sudo=True)
    farm.add("pc", runtime=False)
    with pytest.raises(UsageError, match="already"):
        farm.add("pc")


def test_the_guard_route_outlives_every_board_but_the_last(needs_farm):
    with Farm() as one, Farm() as two:
        one.add("pc", runtime=False)
        two.add("pc", runtime=False)
        one.down()
        assert guarded()
        assert not attempt("ip", "route", "get", str(PREFIX[-2]))
