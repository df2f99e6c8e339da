"""No text of a board makes a parser do anything but parse or refuse, and no JSON of a board makes a judge raise."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devices.agent import _plugins
from devices.agent.sensors import (
    _rails,
    board,
    command,
    cpu_clock,
    cpu_load,
    jetson_clocks,
    jetson_power_mode,
    l4t_release,
    pi_pmic,
    pi_throttle,
    rapl,
    tegrastats,
    vcgencmd,
)
from devices.agent.sensors._base import SensorUnavailable
from devices.agent.sensors._vcgencmd import answer

PARSERS = {
    "answer": lambda text: answer(text, []),
    "meminfo": lambda text: board.parse_meminfo(text, "MemTotal"),
    "cpu_parts": board.parse_cpu_parts,
    "command": command.parse,
    "cpuinfo": cpu_clock.clocks_of_cpuinfo,
    "stat": lambda text: cpu_load.parse(text, 100.0),
    "clocks": jetson_clocks.parse,
    "mode": jetson_power_mode.parse,
    "modes": jetson_power_mode.parse_modes,
    "release": l4t_release.parse,
    "pmic": pi_pmic.parse,
    "throttled": pi_throttle.parse,
    "throttled_file": pi_throttle.parse_file,
    "tegrastats": tegrastats.parse,
    "clock": vcgencmd.parse_clock,
    "temperature": vcgencmd.parse_temperature,
    "voltage": vcgencmd.parse_voltage,
}
#: Pieces of what is expected, so that random texts get past the first look.
PIECES = (
    "RAM 1/2MB (lfb 1x4MB) CPU [1%@102,off] GR3D_FREQ @[1,,] VDD_IN 9/9 a@1C @C % / NV Power Mode: X 0 throttled=0x5 "
    "temp=1'C volt=1V frequency(1)=9 cpu0: MinFreq=1 MaxFreq=x CurrentFreq=٣ GPU cpu 1e999 nan -inf 1_0 ² 7 W mW "
    "VDD_A current(0)=1A VDD_V volt(1)=1V # R36 (release), REVISION: 4.4, POWER_MODEL: ID=0 NAME=M MemTotal: 1 kB"
)
WORDS = st.sampled_from([*PIECES.split(), "\n", "\0", "9" * 400])
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(WORDS, max_size=40).map(" ".join),
    st.integers(0, 2**40).map("throttled=0x{:x}".format),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = (
    "now since_boot events under_voltage gpus g current_hz min_hz max_hz governor governors limits_hz max_celsius id "
    "name modes locked cpus clocks cpu0 GPU l4t model cpu_parts zones energy_j range_j zones_celsius"
)
KEYS = st.sampled_from(NAMES.split())
VALUES = JSON | st.recursive(JSON, lambda inner: st.dictionaries(KEYS, inner, max_size=6), max_leaves=20)


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(text=TEXTS)
@example(text="")
@example(text="9" * 5000)
def test_a_parser_parses_or_refuses(name, text):
    try:
        found = PARSERS[name](text)
    except (ValueError, SensorUnavailable):
        return
    json.dumps(found, allow_nan=False)


@given(text=TEXTS, name=st.sampled_from(["pmic", "tegrastats", "clocks", "mode", "throttled"]))
def test_a_parser_that_parses_found_something(name, text):
    try:
        found = PARSERS[name](text)
    except (ValueError, SensorUnavailable):
        return
    assert found


def judges(kind):
    modules = [(name, _plugins.load("sensors", name)) for name in _plugins.names("sensors")]
    return {name: getattr(module, kind) for name, module in modules if hasattr(module, kind)}


@pytest.mark.parametrize("name", sorted(judges("doubt")))
@given(before=VALUES, after=VALUES)
def test_a_doubt_is_a_reason_or_nothing(name, before, after):
    found = judges("doubt")[name](before, after)
    assert found is None or (isinstance(found, str) and 0 < len(found) < 1000)


@pytest.mark.parametrize("name", sorted(judges("identity")))
@given(values=VALUES)
def test_an_identity_is_an_object(name, values):
    assert isinstance(judges("identity")[name](values), dict)


@pytest.mark.parametrize("name", sorted(judges("advice")))
@given(values=VALUES)
def test_advice_is_three_things_or_nothing(name, values):
    found = judges("advice")[name](values)
    if found is not None:
        ok, said, remedy = found
        assert (type(ok), type(said), type(remedy)) == (bool, str, str)


def test_judges_are_where_they_are_expected():
    assert {"cpu_clock", "gpu_clock", "over_current", "pi_throttle", "temperature", "throttle"} <= set(judges("doubt"))
    assert {"cpu_clock", "jetson_clocks", "jetson_power_mode", "l4t_release"} <= set(judges("identity"))


@given(before=VALUES, after=VALUES)
def test_energy_between_two_readings_never_raises(before, after):
    assert all(isinstance(joules, float) for joules in rapl.used_j(before, after).values())


@given(st.dictionaries(st.sampled_from(["VDD_IN", "POM_5V_IN", "GPU", "CPU"]), st.none() | st.floats(0, 100)))
def test_a_total_is_that_of_a_rail_that_is_there(rails):
    found = _rails.total(rails)
    if found["formula"] is None:
        assert not {"VDD_IN", "POM_5V_IN"} & set(rails)
    else:
        assert found["power_w"] == rails[found["formula"]]


@pytest.mark.parametrize("name", ["board", "ina3221", "over_current", "temperature", "cpu_clock", "gpu_clock"])
@given(content=st.text(max_size=12))
def test_a_file_of_any_content_is_read_or_refused(name, content):
    module = _plugins.load("sensors", name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("devices.agent.sensors._base.read_text", lambda path: content)
        for attribute in ("read_text", "matching"):
            if hasattr(module, attribute):
                patch.setattr(module, attribute, lambda path: ["/x/hwmon0/oc1_event_cnt"] if "*" in path else content)
        try:
            found = module.read()
        except (ValueError, SensorUnavailable):
            return
    json.dumps(found, allow_nan=False)
