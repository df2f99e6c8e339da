"""What the doctor says of a machine by its agent's facts."""

import pytest

from devices._checks import agent_checks
from hilnas.records import Environment

HOST = {"python": "3.11.7", "machine": "x86_64", "cpus": 2, "virtual": False}


def lines_of(host, state):
    environment = Environment({"host": host, "runtime": {"name": "onnxruntime", "version": "1"}})
    return {check.name: check for check in agent_checks(environment, state)}


@pytest.mark.parametrize("virtual", [True, False])
def test_a_virtual_machine_is_told_how_to_keep_its_neighbours_out(virtual):
    found = lines_of(HOST | {"virtual": virtual}, {})
    assert ("machine" in found) == virtual
    if virtual:
        assert found["machine"].ok and "pace_wait_s" in found["machine"].remedy


def test_what_no_sensor_can_tell_is_said():
    found = lines_of(HOST, {"temperature": {"unavailable": "no thermal zones"}})
    assert found["temperature"].found == "n/a: no thermal zones"
    assert "heat cannot be seen" in found["temperature"].remedy
    assert "n/a" in found["energy"].found


def test_a_busy_machine_is_no_place_to_measure():
    found = lines_of(HOST, {"cpu_load": {"load_1min": 1.6}})
    assert not found["cpu_load"].ok and "stop other programs" in found["cpu_load"].remedy
    assert lines_of(HOST, {"cpu_load": {"load_1min": 0.4}})["cpu_load"].ok
