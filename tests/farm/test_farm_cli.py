"""`python -m farm`: boards that stay, and what can be done to them."""

import subprocess

import pytest
from click.testing import CliRunner

from devices._config import read_config
from farm import Farm, _cli, _configs


@pytest.fixture
def run(needs_farm, monkeypatch):
    """Run a command on a farm of the test's own."""
    monkeypatch.setattr(_cli, "_FARM", "cli-test")
    yield lambda *words: CliRunner().invoke(_cli.farm, words)
    Farm("cli-test").down()


def test_boards_come_stay_suffer_and_go(run):
    done = run("up", "pi5:pi5", "pc", "--disk", "32m")
    assert done.exit_code == 0, done.output
    farm = Farm("cli-test")
    config = read_config(farm.folder / "device_configs" / "pi5.toml")
    assert (config.kind, config.ssh.host) == ("raspberry_pi", "pi5")
    command = ["ssh", "-F", config.ssh.config, config.ssh.host, "vcgencmd get_throttled"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "throttled=0x0\n"
    assert run("throttle", "pi5").exit_code == 0
    assert subprocess.run(command, capture_output=True, text=True).stdout == "throttled=0x50005\n"
    assert run("slow", "pc", "--delay", "5").exit_code == 0
    assert run("cut", "pi5").exit_code == 0
    listed = run("list").output
    assert "cli-test/pc\tlinux\t" in listed
    assert "\ton slow\n" in listed
    assert "\ton cut\n" in listed
    assert run("mend", "pi5").exit_code == 0
    boot = farm.board("pi5").boot_id
    assert run("reboot", "pi5").exit_code == 0
    assert farm.board("pi5").boot_id != boot
    assert "cli-test: down" in run("down").output
    assert farm.boards() == []


def test_errors_say_what_to_do(run, capsys):
    with pytest.raises(SystemExit) as error:
        _cli.farm(["cut", "nobody"], standalone_mode=False)
    assert error.value.code == 2
    assert "unknown stand-in board 'nobody'" in capsys.readouterr().err
    assert run("up", "pc").exit_code == 0
    with pytest.raises(SystemExit) as error:
        _cli.farm(["kill-agent", "pc"], standalone_mode=False)
    assert error.value.code == 2
    assert "no measuring program runs on pc" in capsys.readouterr().err


def test_every_promised_command_is_there():
    promised = "up list down cut mend slow reboot kill-agent fill-disk free-disk throttle host-key corrupt freeze thaw"
    assert set(promised.split()) <= set(_cli.farm.commands)


def test_a_container_stands_in_the_config(farm):
    board = farm.add("pc", container=True, runtime=False)
    assert 'container = "ml"' in _configs.device_config(board)
