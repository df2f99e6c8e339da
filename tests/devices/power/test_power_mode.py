"""A power mode is set, read back and put back; a reboot happens only when it was allowed."""

from pathlib import Path

import pytest

from devices.agent.power import power_mode
from devices.agent.power._base import NeedsPassword, NeedsReboot, PowerUnavailable

BOARDS = Path(__file__).parents[2] / "fixtures" / "boards"
#: Mode 2 needs a reboot, mode 1 fails as an Orin Nano's once did (with exit code 0), mode 3 is taken and forgotten.
SCRIPT = """
case "$1 $2" in
"-q ") echo "NVPM WARN: fan mode is not set!"; echo "NV Power Mode: SOME"; cat {state};;
"-m 1") cat {error};;
"-m 2") read answer; if [ "$answer" = YES ]; then touch {rebooted}; echo "NVPM WARN: rebooting"
  else cat {reboot}; exit 255; fi;;
"-m 3") true;;
"-m "*) echo "$2" > {state};;
esac
"""
CONF = "".join(f"< POWER_MODEL ID={number} NAME=M{number} >\n" for number in range(6))


@pytest.fixture
def jetson(tmp_path, plant, program):
    state = tmp_path / "state"
    state.write_text("0\n")
    plant("/etc/nvpmodel.conf", CONF)
    error, reboot = BOARDS / "orin_nano_nvpmodel_m_error.txt", BOARDS / "thor_nvpmodel_m_bad_input.txt"
    program("nvpmodel", SCRIPT.format(state=state, error=error, reboot=reboot, rebooted=tmp_path / "rebooted"))
    return lambda: int(state.read_text())


def test_a_mode_is_set_and_put_back(jetson, plant):
    folder = "/sys/devices/system/cpu/cpu0/cpufreq/"
    for name, text in (("scaling_min_freq", "729600"), ("scaling_max_freq", "1510400"), ("scaling_governor", "x")):
        plant(folder + name, text)
    record = power_mode.apply({"mode": 4})
    assert record["mode"] == 0
    assert record["rebooting"] is False
    assert record["clocks"] == {"governors": ["x"], "limits_hz": [[729.6e6, 1510.4e6]]}, "the mode sets these anew"
    assert jetson() == 4
    power_mode.undo(record)
    assert jetson() == 0


def test_the_mode_there_is_needs_no_change_and_no_right(jetson, refused):
    assert power_mode.apply({"mode": 0})["mode"] == 0


def test_a_reboot_is_not_done_unasked(jetson, tmp_path):
    with pytest.raises(NeedsReboot, match="needs a reboot; nothing was changed"):
        power_mode.apply({"mode": 2})
    assert jetson() == 0
    assert not (tmp_path / "rebooted").exists()


def test_a_reboot_that_is_allowed_is_done(jetson, tmp_path):
    record = power_mode.apply({"mode": 2, "allow_reboot": True})
    assert record == {"mode": 0, "rebooting": True, "clocks": {}}
    assert (tmp_path / "rebooted").exists()
    (tmp_path / "state").write_text("5\n")
    power_mode.undo(record)
    assert jetson() == 5, "a board that goes down is left alone"


def test_errors_count_whatever_the_exit_code(jetson):
    with pytest.raises(PowerUnavailable, match="failed to set power mode"):
        power_mode.apply({"mode": 1})


def test_a_mode_that_does_not_hold_is_an_error(jetson):
    with pytest.raises(PowerUnavailable, match="the mode is 0"):
        power_mode.apply({"mode": 3})


def test_a_mode_that_is_not_there_is_refused(jetson):
    with pytest.raises(PowerUnavailable, match="no power mode 7 here, only: 0 M0, 1 M1"):
        power_mode.apply({"mode": 7})


@pytest.mark.parametrize("mode", [None, "2", True, -1, 100, 1.5])
def test_an_id_that_is_none_is_refused(jetson, mode):
    with pytest.raises(PowerUnavailable, match="no id"):
        power_mode.apply({"mode": mode})


def test_who_is_not_root_goes_through_sudo(jetson, user):
    power_mode.apply({"mode": 5})
    assert jetson() == 5


@pytest.mark.parametrize(
    "said",
    [
        "sudo: a password is required",
        "Sorry, user bob is not allowed to execute '/usr/sbin/nvpmodel -m 5' as root on orin.",
        "bob is not in the sudoers file.  This incident will be reported.",
    ],
)
def test_a_refusal_names_the_lines_that_would_allow_it(jetson, user, program, said):
    program("sudo", f'echo "{said}" >&2; exit 1')
    with pytest.raises(NeedsPassword) as caught:
        power_mode.apply({"mode": 5})
    assert len(caught.value.lines) == 6
    assert caught.value.lines[5].endswith("nvpmodel -m 5")
    assert jetson() == 0


def test_a_machine_that_is_no_jetson_says_so(root, program):
    with pytest.raises(PowerUnavailable, match="nvpmodel is not installed"):
        power_mode.apply({"mode": 0})
