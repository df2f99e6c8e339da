"""NVML with a scripted module in place of the driver's: golden values, refusals, doubts."""

import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.agent import _energy
from devices.agent._sensing import read_sensors
from devices.agent.sensors import nvml
from devices.agent.sensors._base import SensorUnavailable

DEVICE = {"device": "cuda:0"}
UUID = "GPU-6a3c1f2e-0000-4a4b-9c9d-3f2e1d0c0b0a"


class NVMLError(Exception):
    def __init__(self, value):
        super().__init__({3: "Not Supported", 12: "NVML Shared Library Not Found", 15: "GPU is lost"}.get(value, value))
        self.value = value


class NVMLLibraryMismatchError(Exception):
    pass


def script(**changes):
    """Return a module pynvml: an H100 under load; a change is a value, or an error to raise."""
    answers = {
        "nvmlInit": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "handle",
        "nvmlDeviceGetHandleByUUID": "handle",
        "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
        "nvmlDeviceGetUUID": UUID,
        "nvmlSystemGetDriverVersion": "550.54.15",
        "nvmlDeviceGetClockInfo": lambda handle, kind: {1: 1980, 2: 2619}[kind],
        "nvmlDeviceGetMaxClockInfo": lambda handle, kind: {1: 1980}[kind],
        "nvmlDeviceGetTemperatureV": 41,
        "nvmlDeviceGetPowerUsage": 354_120,
        "nvmlDeviceGetEnforcedPowerLimit": 700_000,
        "nvmlDeviceGetTotalEnergyConsumption": 123_456_789,
        "nvmlDeviceGetPerformanceState": 0,
        "nvmlDeviceGetCurrentClocksEventReasons": 0,
        "nvmlDeviceGetViolationStatus": lambda handle, policy: SimpleNamespace(violationTime=[2_000_000, 0][policy]),
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=600 * 2**20, total=80 * 2**30),
        "nvmlDeviceGetComputeRunningProcesses": [],
        "nvmlDeviceGetMigMode": [0, 0],
        "nvmlDeviceGetPersistenceMode": 1,
        **changes,
    }
    module = SimpleNamespace(NVMLError=NVMLError, NVMLLibraryMismatchError=NVMLLibraryMismatchError)
    for name, value in answers.items():
        setattr(module, name, _function(value))
    return module


def _function(value):
    def function(*arguments):
        if isinstance(value, Exception):
            raise value
        return value(*arguments) if callable(value) else value

    return function


@pytest.fixture
def gpu(monkeypatch):
    """Return a function that puts a scripted driver in place and reads it."""

    def read(**changes):
        monkeypatch.setitem(sys.modules, "pynvml", script(**changes))
        nvml._opened.cache_clear()
        return nvml.read(DEVICE)

    yield read
    nvml._opened.cache_clear()


def test_golden_values_are_in_si_units(gpu):
    found = gpu()
    json.dumps(found, allow_nan=False)
    assert found["name"] == "NVIDIA H100 80GB HBM3" and found["uuid"] == UUID and found["driver"] == "550.54.15"
    assert found["sm_clock_hz"] == 1.98e9 and found["memory_clock_hz"] == 2.619e9
    assert found["temperature_celsius"] == 41.0
    assert found["power_w"] == pytest.approx(354.12) and found["power_limit_w"] == 700.0
    assert found["energy_j"] == pytest.approx(123456.789)
    assert found["performance_state"] == 0.0 and found["reasons"] == []
    assert found["slowed_s"] == {"power": pytest.approx(2e-3), "thermal": 0.0}
    assert found["used_bytes"] == 600 * 2**20 and found["processes"] == []
    assert found["mig"] is False and found["persistence"] is True
    assert nvml.doubt(found, found) is None


def test_what_is_not_supported_is_none_and_never_zero(gpu):
    refused = {name: NVMLError(3) for name in vars(script()) if name.startswith(("nvmlDeviceGet", "nvmlSystem"))}
    refused = {name: error for name, error in refused.items() if "HandleBy" not in name}
    found = gpu(**refused)
    values = {key: value for key, value in found.items() if key not in ("at_s", "slowed_s")}
    assert set(values.values()) == {None} and found["slowed_s"] == {}
    assert nvml.doubt(found, found) is None and nvml.used_j(found, found) == {}
    assert nvml.process_bytes(found, 1) is None


def test_older_drivers_answer_under_older_names(gpu):
    mismatch = NVMLLibraryMismatchError("versions")
    found = gpu(
        nvmlDeviceGetCurrentClocksEventReasons=NVMLError(13),
        nvmlDeviceGetCurrentClocksThrottleReasons=0x1,
        nvmlDeviceGetTemperatureV=NVMLError(13),
        nvmlDeviceGetTemperature=39,
        nvmlDeviceGetComputeRunningProcesses=mismatch,
        nvmlDeviceGetComputeRunningProcesses_v2=[SimpleNamespace(pid=7, usedGpuMemory=None)],
    )
    assert found["reasons"] == ["idle"] and found["temperature_celsius"] == 39.0
    assert found["processes"] == [{"pid": 7, "used_bytes": None}]


def test_texts_may_come_as_bytes(gpu):
    assert gpu(nvmlDeviceGetName=b"Tesla V100")["name"] == "Tesla V100"


@pytest.mark.parametrize("bit", [0x4, 0x8, 0x20, 0x40, 0x80])
def test_a_slowed_down_gpu_is_doubted(gpu, bit):
    good, bad = gpu(), gpu(nvmlDeviceGetCurrentClocksEventReasons=bit | 0x10)
    for before, after in ((good, bad), (bad, good)):
        assert nvml.doubt(before, after).startswith("throttled: the GPU was slowed down")


@pytest.mark.parametrize("bit", [0x0, 0x1, 0x2, 0x10, 0x100, 0x4000])
def test_an_idle_gpu_and_clocks_that_were_set_are_not_doubted(gpu, bit):
    found = gpu(nvmlDeviceGetCurrentClocksEventReasons=bit)
    assert nvml.doubt(found, found) is None
    assert bool(found["reasons"]) == bool(bit)


def test_slowed_time_that_grows_is_doubted_when_it_is_a_share_of_the_time(gpu):
    before = dict(gpu(), at_s=100.0)
    crept = dict(before, at_s=110.0, slowed_s={"power": 0.1, "thermal": 0.0})
    slowed = dict(before, at_s=110.0, slowed_s={"power": 2e-3, "thermal": 0.8})
    assert nvml.doubt(before, crept) is None
    assert nvml.doubt(before, slowed) == "throttled: the GPU was slowed down (thermal) for 0.8 s"


def test_another_process_is_doubted_and_shown(gpu):
    alone = gpu()
    shared = gpu(nvmlDeviceGetComputeRunningProcesses=[SimpleNamespace(pid=4242, usedGpuMemory=512 * 2**20)])
    said = nvml.doubt(alone, shared)
    assert said == "contended: 1 other process(es) on the GPU, first pid 4242 with 512 MiB"
    ok, _, remedy = nvml.advice(shared)
    assert not ok and "4242" in remedy
    assert nvml.process_bytes(shared, 4242) == 512 * 2**20 and nvml.process_bytes(shared, 1) is None


def test_another_gpu_is_doubted_and_not_put_together(gpu):
    first, second = gpu(), gpu(nvmlDeviceGetUUID="GPU-other")
    assert nvml.doubt(first, second) == "gpu: it is another one than before"
    assert nvml.identity(first) != nvml.identity(second)
    assert nvml.identity(first)["driver"] == "550.54.15"


def test_joules_are_the_difference_of_the_counter(gpu):
    start, end = gpu(), gpu(nvmlDeviceGetTotalEnergyConsumption=123_456_789 + 4_500)
    assert nvml.used_j(start, end) == {"gpu": pytest.approx(4.5)}
    assert nvml.used_j(end, start) == {}, "the driver was loaded anew"


def test_the_counter_of_the_gpu_is_a_source_of_energy_and_its_power_where_it_has_none(gpu):
    counted = iter([1_000, 1_000, 1_500, 4_000])
    gpu(nvmlDeviceGetTotalEnergyConsumption=1_000)
    sys.modules["pynvml"].nvmlDeviceGetTotalEnergyConsumption = lambda handle: next(counted)
    source = _energy.find(["command", "nvml"], {"nvml": DEVICE})
    assert (source.name, source.counts, source.facts()["scope"]) == ("nvml", True, "gpu")
    assert [source.sample()[1] for _ in range(2)] == pytest.approx([0.5, 3.0])
    gpu(nvmlDeviceGetTotalEnergyConsumption=NVMLError(3))
    source = _energy.find(["nvml"], {"nvml": DEVICE})
    assert not source.counts and source.sample()[1] == pytest.approx(354.12)


def test_the_doctor_names_what_makes_it_steadier(gpu):
    ok, found, remedy = nvml.advice(gpu())
    assert ok and "H100" in found and "1980 of 1980 MHz" in found and "-lgc" in remedy
    assert "-pm 1" in nvml.advice(gpu(nvmlDeviceGetPersistenceMode=0))[2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nvmlInit": NVMLError(12)}, "no NVIDIA driver answers .*Shared Library"),
        ({"nvmlDeviceGetHandleByIndex": NVMLError(2)}, "there is no GPU cuda:0; the driver has 1"),
    ],
)
def test_what_is_missing_is_said(gpu, changes, words):
    with pytest.raises(SensorUnavailable, match=words):
        gpu(**changes)
    assert nvml.read_or_nothing("cuda:0") == {}
    assert nvml.problem("cuda:0")


def test_a_gpu_that_is_lost_is_an_error_of_the_sensor(gpu, monkeypatch):
    gpu()
    monkeypatch.setitem(sys.modules, "pynvml", script(nvmlDeviceGetPowerUsage=NVMLError(15)))
    nvml._opened.cache_clear()
    found = read_sensors(False, {"nvml": DEVICE})["nvml"]
    assert found == {"error": "NVMLError: GPU is lost"}


def test_nothing_is_read_where_no_gpu_is_measured(gpu):
    gpu()
    with pytest.raises(SensorUnavailable, match="no GPU is measured"):
        nvml.read()
    assert "unavailable" in read_sensors(False, {})["nvml"]


def test_a_gpu_is_found_by_its_uuid(gpu, monkeypatch):
    asked = []
    monkeypatch.setitem(sys.modules, "pynvml", script(nvmlDeviceGetHandleByUUID=lambda uuid: asked.append(uuid)))
    nvml._opened.cache_clear()
    nvml.read({"device": UUID})
    assert asked == [UUID]


@given(st.integers(0, 2**64 - 1))
def test_no_bit_of_the_reasons_is_lost(bits):
    names = nvml.reason_names(bits)
    known = {name: bit for bit, name in nvml.REASONS}
    assert sum(known[name] if name in known else int(name, 16) for name in names) == bits


@given(st.recursive(st.none() | st.floats() | st.text(max_size=5) | st.booleans(),
                    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(
                        ["processes", "reasons", "uuid", "slowed_s", "power", "at_s", "pid", "energy_j"]), x),
                    max_leaves=12))  # fmt: skip
def test_foreign_values_never_raise(value):
    nvml.doubt(value, value)
    nvml.identity(value)
    nvml.advice(value)
    nvml.used_j(value, value)
    nvml.process_bytes(value, 1)
