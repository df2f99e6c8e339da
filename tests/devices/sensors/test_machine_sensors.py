"""Sensors of any machine: clocks, energy counters, the board itself, an external meter, and programs that misbehave."""

import json

import pytest

from devices.agent._sensing import read_sensors
from devices.agent.sensors import _base, _command, board, command, cpu_clock, cpu_load, rapl, temperature, throttle
from devices.agent.sensors._base import SensorUnavailable


@pytest.mark.parametrize(
    ("tree", "there"),
    [
        ("pi5", {"board", "cpu_clock", "cpu_load", "pi_throttle", "temperature"}),
        ("orin_nano", {"board", "gpu_clock", "ina3221", "l4t_release", "over_current", "temperature"}),
        ("agx_orin", {"ina3221"}),
        ("nano_r32", {"gpu_clock", "ina3221", "l4t_release", "temperature"}),
        ("x86", {"cpu_clock", "rapl", "throttle"}),
    ],
)
def test_a_board_shows_what_it_has_and_nothing_of_this_machine(plant, program, tree, there):
    plant(tree)
    state = read_sensors(True, {})
    json.dumps(state, allow_nan=False)
    assert [name for name, values in state.items() if isinstance(values, dict) and "error" in values] == []
    found = {name for name, values in state.items() if isinstance(values, dict) and "unavailable" not in values}
    assert found - {"board"} == there - {"board"}


def test_the_root_is_looked_up_at_every_call(plant, monkeypatch):
    root = plant("pi5")
    assert _base.rooted("/proc/uptime") == f"{root}/proc/uptime"
    monkeypatch.delenv("HILNAS_SENSOR_ROOT")
    assert _base.rooted("/proc/uptime") == "/proc/uptime"


def test_files_come_in_the_order_of_their_numbers(plant):
    plant("x86")
    found = [path.split("/")[-2] for path in _base.matching("/sys/devices/system/cpu/cpu[0-9]*/cpufreq")]
    assert found == ["cpu0", "cpu2", "cpu10"]


def test_a_root_with_a_pattern_in_its_name_is_no_pattern(tmp_path, monkeypatch):
    (tmp_path / "a[b]").mkdir()
    (tmp_path / "a[b]" / "x1").write_text("7")
    monkeypatch.setenv("HILNAS_SENSOR_ROOT", str(tmp_path / "a[b]"))
    assert _base.matching("/x*") == [str(tmp_path / "a[b]" / "x1")]


def test_clocks_limits_and_governors(plant):
    plant("x86")
    found = cpu_clock.read()
    assert found == {
        "current_hz": [3.6e9, 1.2e9, None],
        "governors": ["powersave"],
        "limits_hz": [[0.8e9, 4.7e9]],
        "source": "cpufreq",
    }
    assert cpu_clock.identity(found) == {"governors": ["powersave"], "limits_hz": [[0.8e9, 4.7e9]]}
    assert cpu_clock.doubt(found, found) is None
    capped = found | {"limits_hz": [[0.8e9, 2.0e9]]}
    assert cpu_clock.doubt(found, capped).startswith("clocks: the clock limits changed")
    assert "governor" in cpu_clock.doubt(found, found | {"governors": ["performance"]})
    moved = found | {"current_hz": [1e9, 1e9, 1e9]}
    assert cpu_clock.doubt(found, moved) is None, "clocks move, limits must not"


def test_throttle_counters_and_their_growth(plant):
    plant("x86")
    found = throttle.read()
    assert found == {"events": 8.0}
    assert throttle.doubt(found, found) is None
    assert throttle.doubt(found, {"events": 10.0}) == "throttled: 2 times while it was timed"


def test_load_is_read_below_the_root(plant):
    plant("pi5")
    found = cpu_load.read()
    assert (found["busy_s"], found["stolen_s"]) == (pytest.approx(13.3), 0.0)


def test_heat_is_a_doubt_only_where_boards_slow_down():
    cool, hot = {"max_celsius": 80.0}, {"max_celsius": 97.2}
    assert temperature.doubt(cool, cool) is None
    assert temperature.doubt(cool, hot) == temperature.doubt(hot, cool) == "hot: 97 C while it was timed"


def test_energy_of_packages_not_of_their_parts(plant):
    plant("x86")
    found = rapl.read()
    assert found["zones"] == {"package-0": {"energy_j": 262143.0, "range_j": pytest.approx(262143.32885)}}


def test_a_counter_that_goes_round_is_continued():
    def at(energy_j, range_j=262143.32885):
        return {"zones": {"package-0": {"energy_j": energy_j, "range_j": range_j}}}

    assert rapl.used_j(at(10.0), at(12.5)) == {"package-0": 2.5}
    assert rapl.used_j(at(262143.0), at(1.0)) == {"package-0": pytest.approx(1.32885)}
    assert rapl.used_j(at(262143.0), at(1.0, None)) == {}


def test_counters_for_root_only_say_how_to_allow_them(plant):
    root = plant("x86")
    counter = next(root.rglob("intel-rapl:0/energy_uj"))
    counter.unlink()
    counter.mkdir()  # what cannot be opened, for root too
    with pytest.raises(SensorUnavailable, match="udev"):
        rapl.read()


def test_a_pi_5(plant):
    plant("pi5")
    found = board.read()
    assert found["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found["cpu_parts"] == {"Cortex-A76": 4}
    assert (found["memory_bytes"], found["swap_bytes"]) == (8245888 * 1024, 524272 * 1024)
    assert (found["uptime_s"], found["boot_id"]) == (1234.56, "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0")
    assert board.identity(found) == {"model": found["model"], "cpu_parts": {"Cortex-A76": 4}}


@pytest.mark.parametrize(("tree", "serial"), [("pi5", "100000001234abcd"), ("orin_nano", "1421223012345")])
def test_a_serial_number_never_leaves_the_board(plant, tree, serial):
    plant(tree)
    found = board.read()
    assert serial not in json.dumps(found)
    assert len(found["serial_hash"]) == 16
    plant(tree, {"/proc/device-tree/serial-number": serial + "0"})
    assert board.read()["serial_hash"] != found["serial_hash"]


def test_unknown_cores_go_by_their_numbers():
    text = "CPU implementer : 0x4e\nCPU part : 0x004\nCPU implementer : 0x41\nCPU part : 0xd42\nCPU part : 0xfff\n"
    assert board.parse_cpu_parts(text) == {"Carmel": 1, "Cortex-A78AE": 1, "0x41:0xfff": 1}


@pytest.mark.parametrize(
    ("text", "power_w"), [("7.25\n", 7.25), ("7.25 W", 7.25), ("7250mW", 7.25), ("0", 0.0), ("1e1", 10.0)]
)
def test_a_meter_says_watts(text, power_w):
    assert command.parse(text) == pytest.approx(power_w)


@pytest.mark.parametrize("text", ["", "nan", "-1", "inf", "1 2", "7 J", "20000", "7.2.5", "watts: 7", ".", "W"])
def test_a_meter_that_says_something_else_is_an_error(text):
    with pytest.raises(ValueError):
        command.parse(text)


def test_a_meters_program_is_asked_with_its_arguments(program):
    program("meter", {"--channel 2": "5120 mW\n"})
    assert command.read({"argv": ["meter", "--channel", "2"]}) == {"power_w": 5.12, "scope": "external"}
    with pytest.raises(ValueError, match="failed with code 255"):
        command.read({"argv": ["meter", "--other"]})


def test_no_meter_and_a_missing_meter_are_unavailable(program):
    for settings in (None, {}, {"argv": []}, {"argv": ["no-such-meter"]}):
        with pytest.raises(SensorUnavailable):
            command.read(settings)


@pytest.mark.parametrize(
    "settings", [{"argv": "rm -rf"}, {"argv": [1]}, {"argv": ["a"], "timeout_s": 0}, {"argv": ["a"], "timeout_s": "2"}]
)
def test_settings_that_make_no_sense_are_an_error(settings):
    with pytest.raises(ValueError, match="power meter"):
        command.read(settings)


def test_nothing_goes_through_a_shell(program, tmp_path):
    program("meter", script='#!/bin/sh\nprintf %s "$1" > ' + str(tmp_path / "said") + "\necho 1\n")
    command.read({"argv": ["meter", f"$(touch {tmp_path}/owned); 'x'"]})
    assert (tmp_path / "said").read_text() == f"$(touch {tmp_path}/owned); 'x'"
    assert not (tmp_path / "owned").exists()


def test_a_program_that_hangs_is_ended_and_an_error(program):
    program("hangs", script="#!/bin/sh\necho so far\nsleep 60\n")
    with pytest.raises(ValueError, match=r"not answered within 0\.2 s"):
        _command.run(["hangs"], 0.2)


def test_a_program_that_closes_its_output_and_hangs_is_ended_too(program):
    program("hangs", script="#!/bin/sh\nexec >&- 2>&-\nsleep 60\n")
    with pytest.raises(ValueError, match="not answered"):
        _command.run(["hangs"], 0.2)


def test_a_program_that_never_stops_talking_is_ended(program):
    program("talks", script="#!/bin/sh\nyes\n")
    with pytest.raises(ValueError, match="more than 65536 bytes"):
        _command.run(["talks"], 5.0)


def test_programs_speak_english_and_get_what_they_are_told(program):
    program("says", script='#!/bin/sh\nread answer; echo "$LC_ALL $answer"; echo warned >&2\nexit 3\n')
    assert _command.run(["says"], stdin="yes\n") == (3, "C yes\nwarned\n")
    assert _command.run(["says"], with_stderr=False).text == "C \n"


def test_a_program_that_cannot_be_started_is_unavailable(program):
    program("broken", script="#!/no/such/interpreter\n")
    with pytest.raises(SensorUnavailable, match="cannot be run"):
        _command.run(["broken"])
