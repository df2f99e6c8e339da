"""The agent's arithmetic, wire and parsers, without a process."""

import contextlib
import json
import os
import random
from dataclasses import replace
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices._doubt import Worked, doubt
from devices.agent import _plugins, _stopping
from devices.agent._wire import MAX_LINE_BYTES, Closed, PipeLines, WireError
from devices.agent.sensors import cpu_clock, cpu_load

FLOATS = st.floats(1e-6, 1e3)


@given(st.lists(FLOATS, min_size=1, max_size=40))
def test_median_is_that_of_the_standard_library(values):
    from statistics import median

    assert _stopping.median(values) == pytest.approx(median(values))


@given(st.lists(FLOATS, min_size=2, max_size=40), st.floats(0.5, 0.99))
def test_the_interval_contains_the_median_and_its_coverage_is_the_binomial_one(values, confidence):
    found = _stopping.median_interval(values, confidence)
    n = len(values)
    if found is None:
        assert 1 - 2 * 0.5**n < confidence
        return
    lower, upper, coverage = found
    assert lower <= _stopping.median(values) <= upper
    assert coverage >= confidence
    exact = {1 - 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n for k in range(n // 2)}
    assert any(abs(coverage - value) < 1e-9 for value in exact)


def test_the_interval_covers_the_true_median_as_often_as_it_says():
    rng = random.Random(0)
    hits = 0
    for _ in range(2000):
        values = [rng.expovariate(1.0) for _ in range(9)]
        lower, upper, coverage = _stopping.median_interval(values, 0.9)
        hits += lower <= 0.6931471805599453 <= upper
    assert abs(hits / 2000 - coverage) < 0.02


def test_a_ramp_is_not_steady_and_a_plateau_is():
    ramp = [100.0 * 0.97**i for i in range(40)]
    assert not _stopping.is_steady(ramp, 10)
    assert _stopping.is_steady([*ramp, *([30.0, 30.1] * 15)], 10)
    assert not _stopping.is_steady([1.0] * 19, 10)
    spread = [0.8, 0.8, 0.8, 1.0, 1.0, 1.0, 1.2, 1.2, 1.2]
    assert not _stopping.is_steady([*([1.0] * 9), *spread], 9), "equal medians, different quartiles"


def test_blocks_are_enough_when_their_interval_is_narrow():
    assert not _stopping.narrow_enough([1.0] * 7, 0.01)
    assert _stopping.narrow_enough([1.0, 1.001] * 5, 0.01)
    assert not _stopping.narrow_enough([1.0, 1.2] * 5, 0.01)


def test_an_invocation_that_was_disturbed_for_half_its_time_does_not_know_its_median():
    """Seen behind a connection that was set up anew: the first blocks as always, the rest a quarter slower."""
    disturbed = [1.0] * 12 + [1.26, 1.28, 1.3] * 6
    assert _stopping.half_width(disturbed) > 0.05
    assert _stopping.half_width([1.0, 1.01] * 15) < 0.011
    assert _stopping.half_width([1.0] * 24 + [1.3] * 6) == 0.0, "a fifth of the blocks does not move it"
    assert _stopping.half_width([1.0, 2.0] * 7) == 0.0, "too few to tell"


def test_an_unsteady_invocation_doubts_itself():
    worked = Worked(0.3, 0.3, 0.31, 1, 4.0, half_width=0.13)
    assert (doubt({}, {}, worked) or "").startswith("unsteady")
    assert doubt({}, {}, replace(worked, half_width=0.05)) is None


@pytest.fixture
def pipe():
    read_fd, write_fd = os.pipe()
    yield PipeLines(read_fd, write_fd)
    for fd in (read_fd, write_fd):
        with contextlib.suppress(OSError):
            os.close(fd)


@given(st.dictionaries(st.text(max_size=20), st.integers() | st.text(max_size=50) | st.none(), max_size=8))
def test_messages_survive_the_wire(message):
    read_fd, write_fd = os.pipe()
    try:
        lines = PipeLines(read_fd, write_fd)
        lines.send(message)
        lines.send({"next": 1})
        assert lines.receive(1.0) == message
        assert lines.receive(1.0) == {"next": 1}
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_a_torn_line_is_waited_for_and_then_joined(pipe):
    data = json.dumps({"a": "ü"}, ensure_ascii=False).encode() + b"\n"
    os.write(pipe.write_fd, data[:8])
    assert pipe.receive(0.05) is None
    os.write(pipe.write_fd, data[8:])
    assert pipe.receive(1.0) == {"a": "ü"}


@pytest.mark.parametrize("rubbish", [b"not json\n", b"[1]\n", b"\xff\xfe\n", b'{"a":\n', b"\x1b[31m\n"])
def test_rubbish_on_the_wire_is_an_error(pipe, rubbish):
    os.write(pipe.write_fd, rubbish)
    with pytest.raises(WireError):
        pipe.receive(1.0)


def test_an_endless_line_is_an_error(tmp_path):
    path = tmp_path / "endless"
    path.write_bytes(b"x" * (MAX_LINE_BYTES + 200_000))
    with path.open("rb") as file, pytest.raises(WireError, match="more than"):
        PipeLines(file.fileno(), -1).receive(1.0)


def test_the_end_of_the_pipe_is_closed(pipe):
    os.close(pipe.write_fd)
    with pytest.raises(Closed):
        pipe.receive(1.0)


def test_proc_stat_is_read_in_seconds():
    text = "cpu  1000 10 300 90000 50 5 15 20 0 0\ncpu0 1 2 3\n"
    assert cpu_load.parse(text, 100.0) == {"busy_s": 13.3, "stolen_s": 0.2}


@pytest.mark.parametrize("text", ["", "cpu 1 2", "intr 1 2 3 4 5 6 7 8 9", "cpu a b c d e f g h"])
def test_a_proc_stat_of_another_form_raises_and_is_never_zero(text):
    with pytest.raises(ValueError):
        cpu_load.parse(text, 100.0)


def test_clocks_of_cpuinfo_are_in_hertz():
    text = "processor\t: 0\nmodel name\t: X\ncpu MHz\t\t: 2994.374\n\nprocessor : 1\ncpu MHz : 1200.000\n"
    assert cpu_clock.clocks_of_cpuinfo(text) == [2994.374e6, 1200e6]
    assert cpu_clock.clocks_of_cpuinfo("Hardware : BCM2835\n") == []


@pytest.mark.parametrize("name", _plugins.names("sensors"))
def test_every_sensor_reads_or_says_why_not(name):
    module = _plugins.load("sensors", name)
    try:
        found = module.read()
    except module.SensorUnavailable as error:
        assert str(error)
        return
    assert found
    json.dumps(found, allow_nan=False)


def test_only_modules_of_the_folder_are_loaded():
    with pytest.raises(ValueError, match="no such module"):
        _plugins.load("backends", "os")
