"""Energy: counters that go round, power that is integrated, sensors that go away; a scripted meter all the way."""

import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices._agent_session import AgentSession
from devices._config import BackendOptions, DeviceConfig, EnergyOptions, MeterOptions
from devices._link import Link
from devices._package import agent_file
from devices._runs import energy_sensors
from devices.agent import _energy
from devices.agent._energy import EnergyError, account, between, integrated, longest_gap_s
from devices.agent._wire import PipeLines
from devices.agent.sensors import ina3221, rapl
from devices.local_cpu import LocalCpu
from hilnas.deadline import Deadline
from hilnas.records import Artifact, MeasurementProtocol, Workload
from search_spaces._onnx import to_onnx
from search_spaces.nasbench201 import NasBench201

SHORT = replace(
    MeasurementProtocol(),
    purpose="energy",
    min_warmup_s=0.02,
    idle_s=0.8,
    active_s=1.2,
    sensor_updates=4,
    timeout_s=20.0,
)


class Source:
    """What the accounting needs of a sensor."""

    def __init__(self, counts=False, update_s=0.1, step=None):
        self.counts, self.update_s, self._step = counts, update_s, step

    def resolution(self):
        return self._step


@pytest.fixture(autouse=True)
def _own_leases(tmp_path, monkeypatch):
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")


@pytest.fixture
def model(tmp_path):
    space = NasBench201(width=8, depth=1)
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(space.graph(space.sample_distinct(1, 0)[0])))
    return Artifact(Workload("model:x", "model", (1, 3, 32, 32)), "onnxruntime", "x", 1, str(path))


def meter(tmp_path, body):
    """Return the command of a meter that runs a few lines of Python."""
    path = tmp_path / "meter.py"
    path.write_text("import math, os, sys, time\nfrom pathlib import Path\n" + body)
    return (sys.executable, "-I", "-S", str(path))


def cpu(**values):
    return LocalCpu(DeviceConfig(name="cpu", kind="local_cpu", **values))


def measure(device, model, protocol=SHORT):
    with device.session(Deadline.after(60)) as session:
        return session.measure(model, protocol)


# The arithmetic


@given(st.floats(0, 100), st.floats(-5, 5), st.floats(0.1, 5), st.floats(0.1, 5))
def test_a_straight_line_of_power_is_integrated_but_for_the_chords_at_both_ends(power_w, slope, start_s, length_s):
    samples = [(0.05 * i, power_w + slope * 0.05 * i) for i in range(300)]
    end_s = start_s + length_s
    expected = power_w * length_s + slope * (end_s**2 - start_s**2) / 2
    chords = 2 * abs(slope) * 0.05**2 / 8
    assert between(integrated(samples), start_s, end_s) == pytest.approx(expected, abs=chords + 1e-9)


@given(st.lists(st.tuples(st.floats(0.01, 0.3), st.floats(0, 50)), min_size=3, max_size=60), st.data())
def test_windows_add_up(steps, data):
    at_s, samples = 0.0, []
    for step_s, power_w in steps:
        at_s += step_s
        samples.append((at_s, power_w))
    points = integrated(samples)
    start_s, end_s = samples[0][0], samples[-1][0]
    middle_s = data.draw(st.floats(start_s, end_s))
    whole = between(points, start_s, end_s)
    assert between(points, start_s, middle_s) + between(points, middle_s, end_s) == pytest.approx(whole, abs=1e-9)
    assert min(w for _, w in samples) * (end_s - start_s) <= whole + 1e-9


def test_a_sine_of_power_gives_its_integral():
    samples = [(t, 5 + 4 * math.sin(t)) for t in (0.05 * i for i in range(400))]
    expected = 5 * 8.0 - 4 * (math.cos(11.0) - math.cos(3.0))
    assert between(integrated(samples), 3.0, 11.0) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("window", [(-1.0, 5.0), (5.0, 11.0)])
def test_a_window_that_the_samples_do_not_cover_is_refused(window):
    points = integrated([(float(i), 1.0) for i in range(10)])
    with pytest.raises(EnergyError, match="whole window"):
        between(points, *window)
    with pytest.raises(EnergyError):
        between([], 0.0, 1.0)


def test_gaps_count_where_they_touch_the_window():
    points = [(t, 0.0) for t in (0.0, 1.0, 4.0, 5.0, 6.0)]
    assert longest_gap_s(points, 4.5, 5.5) == 1.0
    assert longest_gap_s(points, 3.0, 5.0) == 3.0
    assert longest_gap_s(points, 2.0, 2.0) == 3.0, "a point in time lies in one gap"


def samples_of(power_w, end_s=12.0, period_s=0.1):
    return [(period_s * i, power_w(period_s * i)) for i in range(round(end_s / period_s) + 1)]


WINDOWS = {"idle": (1.0, 5.0), "active": (5.0, 11.0)}


def test_gross_energy_and_idle_are_those_of_their_windows():
    found = account(samples_of(lambda t: 2.0 if t < 5 else 7.0), Source(), WINDOWS, 60)
    assert found["idle_j"] == pytest.approx(8.0, rel=0.05) and found["idle_s"] == 4.0
    assert found["active_j"] == pytest.approx(42.0, rel=0.01) and found["active_s"] == 6.0
    assert found["calls"] == 60


def test_a_silent_sensor_is_no_sensor():
    holed = [item for item in samples_of(lambda t: 3.0) if not 6.0 < item[0] < 7.0]
    with pytest.raises(EnergyError, match=r"silent for 1\.0"):
        account(holed, Source(), WINDOWS, 1)
    counted = [(t, 3.0 * t) for t, _ in holed]
    assert account(counted, Source(counts=True), WINDOWS, 1)["active_j"] == pytest.approx(18.0), "it counts meanwhile"
    at_the_end = [item for item in counted if not 10.5 < item[0] < 11.5]
    with pytest.raises(EnergyError, match="silent"):
        account(at_the_end, Source(counts=True), WINDOWS, 1)


def test_a_counter_that_stands_still_while_the_worker_computes_is_no_counter():
    with pytest.raises(EnergyError, match="stands still"):
        account(samples_of(lambda t: 5.0), Source(counts=True), WINDOWS, 1)


def test_the_uncertainty_is_that_of_the_step_and_of_the_scatter():
    steady = account(samples_of(lambda t: 3.0), Source(step=0.05), WINDOWS, 1)
    assert steady["active_uncertainty_j"] == pytest.approx(0.05 / math.sqrt(12) * 6.0)
    scattered = account(samples_of(lambda t: 3.0 + (-1) ** round(10 * t)), Source(), WINDOWS, 1)
    assert scattered["active_uncertainty_j"] == pytest.approx(6.0 / math.sqrt(61), rel=0.05)
    counter = account([(t, 3.0 * t) for t, _ in samples_of(float)], Source(True, 0.1, 0.0), WINDOWS, 1)
    assert counter["active_uncertainty_j"] == pytest.approx(math.sqrt(2 / 12) * 3.0 * 0.1)


# Sensors


@pytest.fixture
def counter(tmp_path, monkeypatch):
    """Return a function that sets the counters of planted packages, in microjoules."""
    monkeypatch.setenv("HILNAS_SENSOR_ROOT", str(tmp_path))

    def put(*values, range_uj=1_000_000):
        for number, value in enumerate(values):
            folder = tmp_path / "sys/class/powercap" / f"intel-rapl:{number}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "name").write_text(f"package-{number}\n")
            (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
            (folder / "energy_uj").write_text(f"{value}\n")

    return put


def test_counters_of_two_packages_go_round_each_for_itself(counter):
    counter(900_000, 100_000)
    source = _energy.find(["rapl"], {})
    assert source.counts and source.facts()["scope"] == "package" and "GPU" not in source.facts()["sensor"]
    seen = [source.sample()[1]]
    for values in ((950_000, 200_000), (50_000, 300_000), (60_000, 999_999), (70_000, 9_999)):
        counter(*values)
        seen.append(source.sample()[1])
    assert seen == pytest.approx([0.0, 0.15, 0.35, 1.059999, 1.079999])
    assert rapl.resolution({}) < 1e-3


def test_a_package_that_disappears_is_an_error(counter, tmp_path):
    counter(10, 20)
    source = _energy.find(["rapl"], {})
    (tmp_path / "sys/class/powercap/intel-rapl:1/energy_uj").unlink()
    with pytest.raises(EnergyError, match="gone"):
        source.sample()


def test_without_any_sensor_every_reason_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("HILNAS_SENSOR_ROOT", str(tmp_path))
    with pytest.raises(EnergyError) as caught:
        _energy.find(["command", "ina3221", "rapl", "no_such"], {})
    assert str(caught.value).startswith("n/a: ")
    for words in ("no power meter is configured", "no INA3221", "no energy counters", "no such module"):
        assert words in str(caught.value)
    monkeypatch.delenv("HILNAS_SENSOR_ROOT")
    with pytest.raises(EnergyError, match="neither energy nor power"):
        _energy.find(["cpu_load"], {})


def test_slow_meters_get_longer_windows_and_very_slow_ones_are_refused(tmp_path):
    slow = {"argv": meter(tmp_path, "time.sleep(0.15); print(5)")}
    stretched = _energy.find(["command"], {"command": slow}).stretched(
        {"sensor_updates": 50, "active_s": 1.0, "idle_s": 1.0}
    )
    assert stretched["active_s"] >= 50 * 4 * 0.15 and stretched["idle_s"] >= 10 * 4 * 0.15
    with pytest.raises(EnergyError, match="too long"):
        _energy.find(["command"], {"command": {"argv": meter(tmp_path, "time.sleep(0.8); print(5)")}})


def test_the_step_of_an_ina3221_follows_from_its_shunt(tmp_path, monkeypatch):
    monkeypatch.setenv("HILNAS_SENSOR_ROOT", str(tmp_path))
    folder = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    folder.mkdir(parents=True)
    for name, text in {"in1_label": "VDD_IN", "in1_input": "5000", "curr1_input": "1000"}.items():
        (folder / name).write_text(text + "\n")
    assert ina3221.resolution(ina3221.read()) is None and ina3221.update_s() is None, "nothing is guessed"
    (folder / "shunt1_resistor").write_text("5000\n")
    (folder / "update_interval").write_text("20\n")
    # 8 mV at 1 A, and 40 uV over 5 mOhm = 8 mA at 5 V
    assert ina3221.resolution(ina3221.read()) == pytest.approx(math.hypot(0.008, 0.04))
    assert ina3221.update_s() == pytest.approx(0.02)


def test_a_sampler_keeps_the_error_of_a_sensor_and_ends():
    readings = iter([(0.0, 1.0), (0.1, 1.0)])
    source = SimpleNamespace(sample=lambda: next(readings), update_s=0.001, counts=False, facts=lambda: {"sensor": "x"})
    with _energy.Sampler(source) as sampler:
        deadline = time.monotonic() + 5
        while threading.active_count() > 1 and not sampler._error and time.monotonic() < deadline:
            time.sleep(0.01)
    found = sampler.account({"idle": (0.0, 0.05), "active": (0.05, 0.1)}, 1)
    assert found == {"sensor": "x", "error": "StopIteration: "}


def test_a_gpu_is_not_judged_by_the_counter_of_the_processor():
    config = DeviceConfig(name="x", kind="local_cpu")
    assert energy_sensors(config, "onnxruntime") == ["command", "ina3221", "pi_pmic", "rapl"]
    for options in (BackendOptions(provider="cuda"), BackendOptions(device="cuda:0")):
        on_gpu = config.model_copy(update={"options": options})
        assert "nvml" in energy_sensors(on_gpu, "torch_eager") and "rapl" not in energy_sensors(on_gpu, "torch_eager")
    chosen = config.model_copy(update={"energy": EnergyOptions(sensor="rapl")})
    assert energy_sensors(chosen, "onnxruntime") == ["rapl"]


# The whole way, on this machine


def test_a_meter_beside_the_worker_gives_the_integral_of_what_it_showed(tmp_path, model):
    argv = meter(tmp_path, "print('%.9f W' % (5 + 4 * math.sin(time.monotonic())))")
    run = measure(cpu(meter=MeterOptions(argv=argv)), model)
    assert run.status in ("ok", "rejected"), run.cause  # a busy machine may reject, but it has measured
    energy = run.facts["energy"]
    assert (energy["sensor"], energy["scope"], energy["method"]) == ("command", "external", "power")

    def expected_j(began_s, length_s):
        return 5 * length_s - 4 * (math.cos(began_s + length_s) - math.cos(began_s))

    assert energy["active_j"] == pytest.approx(expected_j(energy["active_began_s"], energy["active_s"]), rel=0.05)
    assert energy["idle_j"] == pytest.approx(expected_j(energy["idle_began_s"], energy["idle_s"]), rel=0.05)
    (energy_j,), (net_j,) = run.values("energy_j"), run.values("net_energy_j")
    assert energy_j * energy["calls"] == pytest.approx(energy["active_j"])
    by_hand = energy["active_j"] - energy["idle_j"] / energy["idle_s"] * energy["active_s"]
    assert net_j * energy["calls"] == pytest.approx(by_hand)
    assert run.values("power_w")[0] == pytest.approx(energy["active_j"] / energy["active_s"])
    assert energy["active_s"] >= 1.2 and energy["calls"] >= 10 and not run.values("latency_s")
    assert energy["idle_began_s"] + energy["idle_s"] <= energy["active_began_s"]


@pytest.mark.parametrize(
    ("then", "words"),
    [("sys.exit(3)", "failed with code 3"), ("print('no watts')", "not one number"), ("print(-1)", "-1 W")],
)
def test_a_meter_that_goes_wrong_in_between_makes_a_doubtful_run_with_its_reason(tmp_path, model, then, words):
    count = tmp_path / "count"
    body = (
        f"path = Path({str(count)!r})\npath.open('a').write('x')\n"
        f"if path.stat().st_size > 9:\n    {then}\nelse:\n    print(5)\n"
    )
    run = measure(cpu(meter=MeterOptions(argv=meter(tmp_path, body))), model)
    assert run.status == "rejected" and run.transient
    assert words in run.cause and run.cause.startswith("energy: command:")
    assert not run.values("energy_j")


def test_without_a_sensor_nothing_is_run_and_the_reason_is_said(model):
    run = measure(cpu(energy=EnergyOptions(sensor="ina3221")), model)
    assert (run.status, run.transient) == ("failed", False)
    assert run.cause == "energy: n/a: no sensor of energy (ina3221: no INA3221 power monitor with named rails)"


def test_a_rated_load_has_its_energy_as_in_use(tmp_path, model):
    argv = meter(tmp_path, "print(5)")
    run = measure(cpu(meter=MeterOptions(argv=argv)), model, replace(SHORT, rate_hz=20.0))
    energy = run.facts["energy"]
    assert 10 <= energy["calls"] <= 20 * energy["active_s"] + 1
    assert run.values("energy_j")[0] == pytest.approx(5.0 * energy["active_s"] / energy["calls"])
    assert abs(run.values("net_energy_j")[0]) < 1e-9


def test_counters_of_this_machine_are_read_by_the_agent_not_by_the_worker(tmp_path, model):
    """A planted package whose counter another process turns on by 20 W, once round while it is read."""
    folder = tmp_path / "sys/class/powercap/intel-rapl:0"
    folder.mkdir(parents=True)
    for name, text in {"name": "package-0", "max_energy_range_uj": "9000000", "energy_uj": "8000000"}.items():
        (folder / name).write_text(f"{text}\n")
    with Turning(folder / "energy_uj", 20.0, 9_000_000):
        session = AgentSession(DeviceConfig(name="x", kind="local_cpu"), "onnxruntime", Rooted(tmp_path))
        try:
            session.open(Deadline.after(60))
            run = session.measure(model, SHORT)
        finally:
            session.close()
    energy = run.facts["energy"]
    assert (energy["sensor"], energy["method"]) == ("rapl", "counter")
    assert energy["active_j"] == pytest.approx(20.0 * energy["active_s"], rel=0.1)
    assert energy["active_j"] + energy["idle_j"] > 9.0, "it has gone round"


class Turning:
    """Turns a counter on in place, by so many watts, in a thread."""

    def __init__(self, path, power_w, range_uj):
        self._path, self._power_w, self._range_uj = path, power_w, range_uj
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._turn)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _turn(self):
        began_s, file = time.monotonic(), os.open(self._path, os.O_WRONLY)
        while not self._stop.wait(0.005):
            value = (8_000_000 + int((time.monotonic() - began_s) * self._power_w * 1e6)) % self._range_uj
            os.pwrite(file, f"{value:07d}\n".encode(), 0)  # of one length: never torn
        os.close(file)


class Rooted(Link):
    """An agent of this machine whose sensors look below another root."""

    def __init__(self, root):
        self._root = root
        self._process = None

    def start(self, deadline):
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-u", str(agent_file())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HILNAS_SENSOR_ROOT": str(self._root)},
        )
        return PipeLines(self._process.stdout.fileno(), self._process.stdin.fileno())

    def close(self):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
