"""Energy of boards, checked by hand: the rails of a Jetson while they change, the power chip of a Raspberry Pi 5."""

import hashlib
import os
import re
import threading
import time
from dataclasses import replace

import pytest

from benchmarks._boards import device_of
from farm import Farm, faces, why_unavailable
from hilnas.deadline import Deadline
from hilnas.records import Artifact, MeasurementProtocol, Workload
from search_spaces._recipe import to_onnx_and_recipe
from search_spaces.nasbench201 import NasBench201

SHORT = replace(MeasurementProtocol(), purpose="energy", min_warmup_s=0.02, idle_s=1.5, active_s=3.0, sensor_updates=10)
CURRENT = "devices/platform/bus@0/c240000.i2c/i2c-1/1-0040/hwmon/hwmon1/curr1_input"
VOLTAGE_V = 5.064
LOW_A, HIGH_A = 0.94, 2.94


@pytest.fixture(scope="module")
def farm():
    missing = why_unavailable()
    if missing is not None:
        pytest.skip(f"no stand-in boards: {missing}")
    with Farm() as opened:
        yield opened


@pytest.fixture(scope="module")
def orin(farm):
    return farm.add("energy-orin", face="orin_nano")


@pytest.fixture
def model(tmp_path):
    space = NasBench201(width=8, depth=1)
    architecture = space.sample_distinct(1, 0)[0]
    data, recipe = to_onnx_and_recipe(space.graph(architecture))
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / "recipe").write_bytes(recipe)
    workload = Workload(architecture.text, "architecture", space.input_shape)
    return Artifact(workload, "onnxruntime", digest, len(data), None, str(tmp_path / "recipe"))


def measure(board, kind, model):
    with device_of(board, kind).session(Deadline.after(90)) as session:
        return session.measure(model, SHORT)


class Steps:
    """Changes a current below /sys every second, and knows what it was when, by this machine's monotonic clock."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._step)
        self.changes = []

    def __enter__(self):
        self._set(LOW_A)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._set(LOW_A)
        os.close(self._file)

    def _step(self):
        while not self._stop.wait(1.0):
            self._set(HIGH_A if self.changes[-1][1] == LOW_A else LOW_A)

    def _set(self, current_a):
        os.pwrite(self._file, f"{round(current_a * 1e3):04d}\n".encode(), 0)  # of one length: never torn
        self.changes.append((time.monotonic(), current_a))

    def joules(self, start_s, end_s):
        """Return the energy of a window by hand, and how many changes lie in it."""
        ends = [at_s for at_s, _ in self.changes[1:]] + [float("inf")]
        total_j = 0.0
        for (at_s, current_a), until_s in zip(self.changes, ends, strict=True):
            total_j += VOLTAGE_V * current_a * max(0.0, min(until_s, end_s) - max(at_s, start_s))
        return total_j, sum(start_s < at_s < end_s for at_s, _ in self.changes)


def clock_ahead_s(board):
    """Return by how much the board's monotonic clock is ahead of this machine's: whole seconds."""
    said = board.run(["/usr/bin/python3", "-c", "import time; print(time.monotonic())"]).stdout
    return round(float(said) - time.monotonic())


def test_a_jetson_whose_current_changes_has_the_energy_of_the_steps(orin, model):
    ahead_s = clock_ahead_s(orin)
    with Steps(orin.state.sys_folder / CURRENT) as steps:
        run = measure(orin, "jetson", model)
    assert run.status in ("ok", "rejected"), run.cause
    energy = run.facts["energy"]
    assert (energy["sensor"], energy["scope"], energy["formula"]) == ("ina3221", "module", "VDD_IN")
    assert "carrier board" in energy["not_included"] and energy["update_s"] >= 0.05
    for name in ("idle", "active"):
        start_s = energy[f"{name}_began_s"] - ahead_s
        expected_j, changes = steps.joules(start_s, start_s + energy[f"{name}_s"])
        # Between two readings the sensor is taken to go straight from one to the other: a change may lie anywhere.
        unknown_j = changes * VOLTAGE_V * (HIGH_A - LOW_A) * 2 * energy["update_s"]
        assert energy[f"{name}_j"] == pytest.approx(expected_j, abs=unknown_j + 0.01 * expected_j), name
    assert energy["active_s"] >= 3.0 and energy["active_j"] > 3.0 * VOLTAGE_V * LOW_A
    assert run.values("energy_j")[0] * energy["calls"] == pytest.approx(energy["active_j"])


def test_a_jetson_that_stands_still_has_power_times_time_and_no_net_energy(orin, model):
    run = measure(orin, "jetson", model)
    energy = run.facts["energy"]
    power_w = VOLTAGE_V * LOW_A
    assert run.values("power_w")[0] == pytest.approx(power_w) == run.values("idle_power_w")[0]
    assert run.values("energy_j")[0] == pytest.approx(power_w * energy["active_s"] / energy["calls"])
    assert run.values("net_energy_j")[0] == pytest.approx(0.0, abs=1e-9)


def test_a_monitor_that_goes_away_is_said(orin, model):
    path = orin.state.sys_folder / CURRENT
    timer = threading.Timer(3.0, path.write_text, ["rubbish\n"])
    timer.start()
    try:
        run = measure(orin, "jetson", model)
    finally:
        timer.join()
        path.write_text("0940\n")
    assert run.status == "rejected" and not run.values("energy_j")
    assert "ina3221" in run.cause


def test_the_power_chip_of_a_raspberry_pi_adds_up_its_rails(farm, model):
    board = farm.add("energy-pi5", face="pi5")
    text = (faces.PROGRAMS / "vcgencmd").read_text()
    currents = dict(re.findall(r"(\w+)_A current\(\d+\)=([\d.]+)A", text))
    voltages = dict(re.findall(r"(\w+)_V volt\(\d+\)=([\d.]+)V", text))
    power_w = sum(float(currents[name]) * float(voltages[name]) for name in currents)
    assert len(currents) == 12 and 1.0 < power_w < 5.0
    run = measure(board, "raspberry_pi", model)
    assert run.status in ("ok", "rejected"), run.cause
    energy = run.facts["energy"]
    assert (energy["sensor"], energy["scope"]) == ("pi_pmic", "rails_sum")
    assert "peripherals" in energy["not_included"]
    assert run.values("energy_j")[0] == pytest.approx(power_w * energy["active_s"] / energy["calls"])


def test_a_board_without_a_sensor_says_so(farm, model):
    board = farm.add("energy-plain", face="linux")
    run = measure(board, "ssh_linux", model)
    assert run.status == "failed" and run.cause.startswith("energy: n/a: ") and not run.transient
