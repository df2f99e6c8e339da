"""What a Jetson says, parsed to values read off by hand."""

import pytest

from devices.agent.sensors import (
    gpu_clock,
    ina3221,
    jetson_clocks,
    jetson_power_mode,
    l4t_release,
    over_current,
    temperature,
)
from devices.agent.sensors._base import SensorUnavailable


@pytest.mark.parametrize(
    ("name", "id", "mode"),
    [
        ("nano_nvpmodel_q", 0, "MAXN"),
        ("nano_nvpmodel_q_not_root", 1, "5W"),
        ("thor_nvpmodel_q", 0, "MAXN"),
        ("tx2_nvpmodel_q_verbose", 0, "MAXN"),
    ],
)
def test_the_power_mode_between_warnings_and_errors(output, name, id, mode):
    assert jetson_power_mode.parse(output(name)) == {"id": id, "name": mode}


def test_a_power_mode_without_its_id_is_an_error(output):
    with pytest.raises(ValueError, match="nvpmodel"):
        jetson_power_mode.parse(output("xavier_nvpmodel_q_cut"))
    with pytest.raises(ValueError, match="nvpmodel"):
        jetson_power_mode.parse("NV Power Mode: NVPM - Type: WARN:\n0\n")


def test_modes_of_the_file_and_of_the_program(output):
    assert jetson_power_mode.parse_modes(output("orin_nano_r39_nvpmodel_conf_modes")) == {"0": "15W", "1": "7W"}
    found = jetson_power_mode.parse_modes(output("xavier_nx_nvpmodel_p"))
    assert (len(found), found["2"], found["8"]) == (9, "MODE_15W_6CORE", "MODE_20W_6CORE")


def test_a_power_mode_is_read_with_the_modes_there_are(plant, program, output):
    plant("orin_nano")
    program("nvpmodel", {"-q": "NV Power Mode: MAXN_SUPER\n2\n"})
    found = jetson_power_mode.read()
    assert found == {"id": 2, "name": "MAXN_SUPER", "modes": {"0": "15W", "1": "25W", "2": "MAXN_SUPER"}}
    assert jetson_power_mode.identity(found) == {"id": 2, "name": "MAXN_SUPER"}
    assert "25W" in jetson_power_mode.advice(found)[2]


def test_modes_come_from_the_program_where_there_is_no_file(plant, program, output):
    plant()
    program("nvpmodel", {"-q": output("nano_nvpmodel_q"), "-p --verbose": output("xavier_nx_nvpmodel_p")})
    assert len(jetson_power_mode.read()["modes"]) == 9


def test_clocks_of_an_orin_nx(output):
    found = jetson_clocks.parse(output("orin_nx_r36_jetson_clocks"))
    assert found["locked"] is False
    assert len(found["cpus"]) == 6
    assert found["cpus"]["cpu4"] == {
        "min_hz": 729.6e6,
        "max_hz": 1510.4e6,
        "current_hz": 729.6e6,
        "online": True,
        "governor": "schedutil",
    }
    assert found["clocks"]["GPU"] == {"min_hz": 306e6, "max_hz": 624.75e6, "current_hz": 306e6}
    assert found["clocks"]["EMC"]["max_hz"] == 2133e6
    assert found["emc_override"] is False


def test_clocks_without_online_and_override(output):
    found = jetson_clocks.parse(output("orin_nano_r39_jetson_clocks"))
    assert (found["locked"], found["emc_override"], len(found["cpus"])) == (False, None, 6)
    assert found["cpus"]["cpu5"]["current_hz"] == 1036.8e6
    assert set(found["clocks"]) == {"GPU", "EMC"}


def test_a_mode_that_leaves_the_cores_one_clock_is_not_yet_locked(output):
    """In 5W the cores of a Nano have equal limits anyway: the GPU tells."""
    before = jetson_clocks.parse(output("nano_5w_jetson_clocks"))
    after = jetson_clocks.parse(output("nano_5w_jetson_clocks_locked"))
    assert (before["locked"], before["emc_override"]) == (False, False)
    assert (after["locked"], after["emc_override"]) == (True, True)
    assert [cpu["online"] for cpu in after["cpus"].values()] == [True, True, False, False]
    assert jetson_clocks.identity(before) != jetson_clocks.identity(after)
    assert jetson_clocks.advice(after) == (True, "clocks are locked", "")


def test_a_core_that_is_off_does_not_count(output):
    """What limits it has is from before it was switched off."""
    line = "cpu3: Online=0 Governor=schedutil MinFreq="
    text = output("nano_5w_jetson_clocks_locked")
    assert jetson_clocks.parse(text.replace(line + "921600", line + "102000"))["locked"] is True
    assert jetson_clocks.parse(text.replace("MinFreq=614400000", "MinFreq=76800000"))["locked"] is False


def test_the_oldest_form_with_its_misspelling(output):
    found = jetson_clocks.parse(output("tx1_r28_jetson_clocks_locked"))
    assert (found["locked"], found["cpus"]["cpu0"]["governor"]) == (True, "interactive")


def test_who_may_not_ask_is_told_so(output):
    with pytest.raises(SensorUnavailable, match="root"):
        jetson_clocks.parse(output("jetson_clocks_not_root"))
    with pytest.raises(SensorUnavailable, match="root"):
        jetson_clocks.parse("sudo: a password is required\n")
    with pytest.raises(ValueError, match="jetson_clocks"):
        jetson_clocks.parse("SOC family:tegra234\n")


def test_clocks_are_asked_for_through_sudo_by_those_who_are_not_root(program, output, monkeypatch):
    program("sudo", script='#!/bin/sh\ntest "$1" = -n && shift && exec "$@"\n')
    program("jetson_clocks", {"--show": output("orin_nx_r36_jetson_clocks")})
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert len(jetson_clocks.read()["cpus"]) == 6
    program("sudo", script="#!/bin/sh\necho 'sudo: a password is required' >&2; exit 1\n")
    with pytest.raises(SensorUnavailable, match="sudoers"):
        jetson_clocks.read()


def test_releases(output):
    found = l4t_release.parse(output("orin_nx_r36_nv_tegra_release"))
    assert found == {"release": 36, "revision": "4.4", "l4t": "36.4.4", "jetpack_major": 6}
    found = l4t_release.parse(output("orin_nano_r39_nv_tegra_release"))
    assert (found["l4t"], found["jetpack_major"]) == ("39.2.0", 7)
    assert l4t_release.parse("# R99 (release), REVISION: 1.0, GCID: 1\n")["jetpack_major"] is None
    with pytest.raises(ValueError, match="nv_tegra_release"):
        l4t_release.parse("R36 REVISION: 4.4")


def test_the_model_comes_from_the_device_tree(plant):
    plant("orin_nano")
    found = l4t_release.read()
    assert (found["model"], found["l4t"]) == ("NVIDIA Jetson Orin Nano Developer Kit", "36.4.4")
    assert l4t_release.advice(found)[1] == "NVIDIA Jetson Orin Nano Developer Kit, L4T 36.4.4, JetPack 6"


def test_rails_of_an_orin_nano(plant):
    """VDD_IN is the whole module: adding the other rails would count them twice."""
    plant("orin_nano")
    found = ina3221.read()
    assert set(found["rails"]) == {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"}, "the sum of shunt voltages is no rail"
    assert found["rails"]["VDD_IN"] == pytest.approx({"voltage_v": 5.064, "current_a": 0.944, "power_w": 4.780416})
    assert found["power_w"] == pytest.approx(4.780416)
    assert (found["formula"], found["scope"]) == ("VDD_IN", "module")


def test_rails_of_an_agx_orin_lie_on_two_chips(plant):
    plant("agx_orin")
    found = ina3221.read()
    assert set(found["rails"]) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}
    # 19.984 x 0.120 + 19.976 x 0.040 + 5.032 x 0.704
    assert found["power_w"] == pytest.approx(2.39808 + 0.79904 + 3.542528)
    assert found["formula"] == "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"


def test_rails_of_a_nano_with_the_older_driver(plant):
    plant("nano_r32")
    found = ina3221.read()
    assert found["rails"]["POM_5V_CPU"]["power_w"] == pytest.approx(5.12 * 0.064)
    assert (found["power_w"], found["formula"]) == (pytest.approx(5.128 * 0.392), "POM_5V_IN")


def test_a_rail_that_cannot_be_read_makes_no_total(plant):
    root = plant("orin_nano")
    next(root.rglob("curr1_input")).unlink()
    found = ina3221.read()
    assert found["rails"]["VDD_IN"] == {"voltage_v": pytest.approx(5.064), "current_a": None, "power_w": None}
    assert found["power_w"] is None


def test_a_rail_of_another_form_is_an_error(plant):
    root = plant("orin_nano")
    next(root.rglob("curr1_input")).write_text("nan\n")
    with pytest.raises(ValueError, match="finite"):
        ina3221.read()


def test_over_current_events_are_named_and_their_growth_is_a_doubt(plant):
    plant("orin_nano")
    found = over_current.read()
    assert found == {"events": {"under_voltage": 0, "average_over_current": 0, "instantaneous_over_current": 42}}
    later = {"events": found["events"] | {"instantaneous_over_current": 50.0}}
    assert over_current.doubt(found, found) is None
    assert over_current.doubt(later, found) is None
    assert over_current.doubt(found, later) == "throttled: instantaneous_over_current 8 times while it was timed"
    assert over_current.advice(found)[0] is False
    assert over_current.advice({"events": {"under_voltage": 0}})[0] is True


def test_counters_of_another_chip_are_not_ours(plant):
    root = plant("orin_nano")
    next(root.rglob("hwmon3/name")).write_text("other\n")
    with pytest.raises(SensorUnavailable):
        over_current.read()


def test_the_gpu_and_no_other_engine(plant):
    plant("orin_nano")
    found = gpu_clock.read()
    assert found == {
        "gpus": {
            "17000000.gpu": {
                "current_hz": 306e6,
                "min_hz": 306e6,
                "max_hz": 624.75e6,
                "governor": "nvhost_podgov",
                "load": 0.375,
            }
        }
    }
    changed = {"gpus": {"17000000.gpu": found["gpus"]["17000000.gpu"] | {"max_hz": 306e6}}}
    assert gpu_clock.doubt(found, found) is None
    assert "max_hz" in gpu_clock.doubt(found, changed)
    assert gpu_clock.identity(found)["17000000.gpu"]["max_hz"] == 624.75e6


def test_a_gpu_below_its_locked_clock_is_a_doubt(plant):
    root = plant("nano_r32")
    locked = gpu_clock.read()
    assert gpu_clock.doubt(locked, locked) is None
    next(root.rglob("cur_freq")).write_text("768000000\n")
    assert gpu_clock.doubt(locked, gpu_clock.read()) == "throttled: the GPU ran below its locked clock"


def test_a_load_beyond_all_is_an_error(plant):
    root = plant("orin_nano")
    next(root.rglob("device/load")).write_text("1001\n")
    with pytest.raises(ValueError, match="load"):
        gpu_clock.read()


def test_zones_without_power_and_dummies_are_left_out(plant):
    plant("orin_nano")
    found = temperature.read()
    assert found == {"zones_celsius": {"cpu-thermal": 48.468, "tj-thermal": 49.156}, "max_celsius": 49.156}


def test_the_dummy_of_a_nano_is_left_out(plant):
    plant("nano_r32")
    assert temperature.read() == {"zones_celsius": {"AO-therm": 34.5}, "max_celsius": 34.5}
