"""Governors are set everywhere or nowhere, read back, and put back."""

import os
from pathlib import Path

import pytest

from devices.agent.power import governor
from devices.agent.power._base import NeedsPassword, PowerUnavailable

POLICY = "/sys/devices/system/cpu/cpufreq/policy"


@pytest.fixture
def policies(plant):
    for number, name in (("0", "schedutil"), ("4", "ondemand")):
        plant(f"{POLICY}{number}/scaling_available_governors", "performance schedutil ondemand\n")
        plant(f"{POLICY}{number}/scaling_governor", name + "\n")

    def now():
        return {
            path.parent.name: path.read_text().strip()
            for path in Path(os.environ["HILNAS_SENSOR_ROOT"]).rglob("scaling_governor")
        }

    return now


def test_every_policy_is_set_and_put_back(policies):
    record = governor.apply({})
    assert record == {"governors": {"policy0": "schedutil", "policy4": "ondemand"}}
    assert policies() == {"policy0": "performance", "policy4": "performance"}
    governor.undo(record)
    assert policies() == {"policy0": "schedutil", "policy4": "ondemand"}


def test_another_governor_can_be_asked_for(policies):
    governor.apply({"governor": "ondemand"})
    assert set(policies().values()) == {"ondemand"}


def test_who_is_not_root_goes_through_sudo(policies, user):
    record = governor.apply({})
    assert set(policies().values()) == {"performance"}
    governor.undo(record)
    assert policies()["policy4"] == "ondemand"


def test_a_refusal_names_the_lines_that_would_allow_it(policies, refused):
    with pytest.raises(NeedsPassword) as caught:
        governor.apply({})
    lines = [f"tee {POLICY}{number}/scaling_governor" for number in (0, 4)]
    assert [line.partition("NOPASSWD: /")[2].rpartition("bin/")[2] for line in caught.value.lines] == lines
    assert all(line in str(caught.value) for line in caught.value.lines)
    assert policies() == {"policy0": "schedutil", "policy4": "ondemand"}


def test_a_setting_that_does_not_hold_is_an_error_and_undone(policies, user, program):
    program("sudo", 'shift; case "$*" in *policy4*) cat >/dev/null;; *) exec "$@";; esac')
    with pytest.raises(PowerUnavailable, match="policy4/scaling_governor stayed at ondemand"):
        governor.apply({})
    assert policies() == {"policy0": "schedutil", "policy4": "ondemand"}


def test_a_governor_that_is_not_there_is_refused_before_anything_changes(policies):
    with pytest.raises(PowerUnavailable, match="only: performance schedutil"):
        governor.apply({"governor": "userspace"})
    assert policies()["policy0"] == "schedutil"


@pytest.mark.parametrize("value", ["a b", "../x", "", 7, None])
def test_a_governor_that_is_no_word_is_refused(policies, value):
    with pytest.raises(PowerUnavailable, match="governor"):
        governor.apply({"governor": value})


def test_a_machine_without_governors_says_so(root):
    with pytest.raises(PowerUnavailable, match="no governors"):
        governor.apply({})


def test_what_a_record_says_is_not_believed(policies):
    with pytest.raises(PowerUnavailable):
        governor.undo({"governors": {"policy0": "x; reboot", "policy4": "performance"}})
    assert policies() == {"policy0": "schedutil", "policy4": "performance"}, "the rest is put back all the same"
    governor.undo({"governors": {"../../../etc/passwd": "performance"}})
    governor.undo({})


def test_sudoers_lines_name_each_file(policies):
    found = governor.sudoers("pi")
    assert len(found) == 2
    assert found[0].startswith("pi ALL=(root) NOPASSWD: /")
    assert found[0].endswith(f"/tee {POLICY}0/scaling_governor"), "the file of the machine, not of the root"
    assert not any("*" in line for line in found)


@pytest.mark.parametrize("name", ["a b", "ALL, x", "%group\nroot", "", "x" * 80])
def test_a_name_that_would_say_more_in_sudoers_is_refused(policies, name):
    with pytest.raises(ValueError, match="user"):
        governor.sudoers(name)
