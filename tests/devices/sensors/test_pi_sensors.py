"""What a Raspberry Pi says, parsed to values read off by hand."""

import pytest

from devices.agent.sensors import _vcgencmd, pi_pmic, pi_throttle, vcgencmd
from devices.agent.sensors._base import SensorUnavailable


def test_throttling_is_named_now_and_since_boot(output):
    assert pi_throttle.parse(output("pi5_get_throttled")) == {"bits": 0, "now": [], "since_boot": []}
    both = ["under_voltage", "throttled"]
    found = pi_throttle.parse(output("pi_get_throttled_under_voltage"))
    assert found == {"bits": 0x50005, "now": both, "since_boot": both}
    assert pi_throttle.parse("throttled=0xe0000")["since_boot"] == [
        "frequency_capped",
        "throttled",
        "soft_temperature_limit",
    ]


def test_the_kernels_file_is_hexadecimal_without_0x_and_is_preferred(plant, program, output):
    program("vcgencmd", {"get_throttled": output("pi_get_throttled_under_voltage")})
    plant("pi5")
    found = pi_throttle.read()
    assert (found["source"], found["bits"], found["now"]) == ("sysfs", 0x50000, [])
    assert found["since_boot"] == ["under_voltage", "throttled"]


def test_without_the_file_the_program_is_asked(plant, program, output):
    plant()
    program("vcgencmd", {"get_throttled": output("pi_get_throttled_under_voltage")})
    assert pi_throttle.read()["source"] == "vcgencmd"
    assert pi_throttle.read()["now"] == ["under_voltage", "throttled"]


@pytest.mark.parametrize(
    "text", ["", "throttled=", "throttled=0xZZ", "throttled=50005", "0x0", "throttled=0x123456789"]
)
def test_another_form_of_throttling_is_an_error_and_never_nothing(text):
    with pytest.raises(ValueError, match="get_throttled"):
        pi_throttle.parse(text)


def test_old_history_is_no_reason_to_doubt_new_history_is():
    calm, old = pi_throttle.parse("throttled=0x0"), pi_throttle.parse("throttled=0x50000")
    now = pi_throttle.parse("throttled=0x50005")
    assert pi_throttle.doubt(calm, calm) is None
    assert pi_throttle.doubt(old, old) is None
    assert pi_throttle.doubt(calm, now) == "throttled: throttled, under_voltage while it was timed"
    assert pi_throttle.doubt(now, old) == "throttled: throttled, under_voltage while it was timed"
    assert pi_throttle.doubt(calm, old) == "throttled: throttled, under_voltage for a moment while it was timed"
    assert pi_throttle.advice(calm)[0]
    assert pi_throttle.advice(now)[0] is False
    assert "5.1 V" in pi_throttle.advice(now)[2]


@pytest.mark.parametrize("name", ["pi4_vcgencmd_no_device", "pi4_vcgencmd_no_vchi"])
def test_a_user_outside_the_group_video_is_told_so(output, name, program, plant):
    plant()
    program("vcgencmd", script=f"#!/bin/sh\nprintf %s {output(name)!r}\nexit 255\n".replace("\\'", "'\\''"))
    with pytest.raises(SensorUnavailable, match="group video"):
        _vcgencmd.answer(output(name), ["measure_temp"])
    for module in (vcgencmd, pi_pmic, pi_throttle):
        with pytest.raises(SensorUnavailable, match="group video"):
            module.read()


def test_the_firmwares_clocks_and_temperatures(program, output):
    answers = {
        "measure_clock arm": output("pi_measure_clock_arm"),
        "measure_clock core": "frequency(1)=910000000\n",
        "measure_temp": output("pi5_measure_temp"),
        "measure_temp pmic": 'error=2 error_msg="Invalid arguments"\n',
        "measure_volts core": output("pi5_measure_volts"),
    }
    program("vcgencmd", answers)
    assert vcgencmd.read() == {
        "arm_hz": 1800457088.0,
        "core_hz": 910e6,
        "temperature_celsius": 39.5,
        "pmic_celsius": None,
        "core_v": 0.72,
    }
    program("vcgencmd", answers | {"measure_temp pmic": "temp=51.2'C\n"})
    assert vcgencmd.read()["pmic_celsius"] == 51.2


def test_rails_are_joined_by_name_and_summed(output):
    found = pi_pmic.parse(output("pi5_pmic_read_adc"))
    assert len(found["rails"]) == 12
    assert found["rails"]["0V8_AON"]["current_a"] == 0.00579975, "its current is number 16, its voltage number 19"
    assert found["rails"]["0V8_AON"]["voltage_v"] == 0.79736190
    assert found["rails"]["VDD_CORE"]["power_w"] == pytest.approx(10.87674 * 0.8974594)
    # 9.7614 + 3V3_SYS 0.2065 + 1V8_SYS 0.2896 + DDR 0.0086 + 1V1_SYS 0.1940 + 0V8_SW 0.2632 + 0.0026 + 0.0046 + 0.0693
    assert found["power_w"] == pytest.approx(10.7998, abs=2e-4)
    assert found["scope"] == "rails_sum"
    assert found["input_v"] == 5.06788
    assert found["without_current_v"] == {"EXT5V": 5.06788, "BATT": 3.011108}
    assert found["without_voltage_a"] == {}


def test_a_pi_without_a_power_chip_says_so(program):
    program("vcgencmd", {"pmic_read_adc": 'error=1 error_msg="Command not registered"\n'})
    with pytest.raises(SensorUnavailable, match="not registered"):
        pi_pmic.read()


@pytest.mark.parametrize(
    "text",
    [
        "EXT5V_V volt(24)=5.0V",
        "VDD_CORE_A current(7)=1.0A\nVDD_CORE_A current(8)=2.0A\nVDD_CORE_V volt(15)=0.8V",
        "VDD_CORE_A current(7)=nanA",
        "VDD_CORE_A volt(7)=1.0V\nVDD_CORE_V volt(15)=0.8V",
        "hello",
        "",
    ],
)
def test_rails_of_another_form_are_an_error(text):
    with pytest.raises(ValueError):
        pi_pmic.parse(text)
