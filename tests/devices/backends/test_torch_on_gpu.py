"""What the torch backends do around a call on a GPU, with a scripted torch.cuda: no GPU is needed."""

import contextlib
import os
from types import SimpleNamespace

import pytest

from devices.agent.backends import _torch
from devices.agent.sensors import nvml


class Tensor:
    """Remembers where it is brought."""

    def __init__(self, log):
        self.log = log

    def to(self, place):
        self.log.append(f"to {place}")
        return self

    def cpu(self):
        self.log.append("cpu")
        return self


class Cuda:
    """Counts what is asked of it; an event lasts 1.5 ms."""

    def __init__(self, log):
        self.log = log

    def Event(self, enable_timing):
        assert enable_timing
        return SimpleNamespace(
            record=lambda: self.log.append("record"),
            synchronize=lambda: self.log.append("wait"),
            elapsed_time=lambda end: 1.5,
        )

    def synchronize(self):
        self.log.append("synchronize")

    def reset_peak_memory_stats(self):
        self.log.append("reset")

    def max_memory_allocated(self):
        return 5_000_000

    def max_memory_reserved(self):
        return 9_000_000

    def get_device_name(self, index):
        return "NVIDIA H100"


@pytest.fixture
def log(monkeypatch):
    log = []
    torch = SimpleNamespace(cuda=Cuda(log), inference_mode=contextlib.nullcontext)
    monkeypatch.setattr(_torch, "_torch", torch)
    return log


def model(log, device="GPU-1", copies=True):
    made = _torch.Model.__new__(_torch.Model)
    made._device, made._copies = device, copies
    made._host = made._inputs = [Tensor(log)]
    made.module = lambda x: (log.append("call"), x)[1]
    return made


def test_a_call_with_copies_brings_its_input_there_and_its_output_back(log):
    assert len(model(log).run()) == 1
    assert log == ["to cuda", "call", "cpu", "synchronize"]


def test_a_call_without_copies_waits_until_the_gpu_has_done_it(log):
    model(log, copies=False).run()
    assert log == ["call", "synchronize"]


def test_on_the_cpu_nothing_of_a_gpu_is_asked(log):
    made = model(log, device="")
    made.run()
    assert made.readings() == {} and log == ["call"]


def test_further_readings_are_event_times_memory_after_the_warm_up_and_the_clock(log, monkeypatch):
    hot = {"sm_clock_hz": 1.98e9, "processes": [{"pid": os.getpid(), "used_bytes": 7e6}]}
    monkeypatch.setattr(nvml, "read_or_nothing", lambda device: hot)
    monkeypatch.setattr(_torch, "_EVENT_S", 0.0)
    found = model(log, copies=False).readings()
    assert found["event_latency_s"] == [1.5e-3] * _torch._MIN_EVENTS
    assert (found["gpu_peak_bytes"], found["gpu_reserved_bytes"]) == ([5e6], [9e6])
    assert (found["gpu_process_bytes"], found["sm_clock_hz"]) == ([7e6], [1.98e9])
    assert log[0] == "reset" and log[1:5] == ["record", "call", "record", "wait"]


@pytest.mark.parametrize("hidden", [{}, {"processes": None}, {"processes": [{"pid": os.getpid(), "used_bytes": None}]}])
def test_what_the_driver_hides_is_left_out_and_never_zero(log, monkeypatch, hidden):
    monkeypatch.setattr(nvml, "read_or_nothing", lambda device: hidden)
    monkeypatch.setattr(_torch, "_EVENT_S", 0.0)
    found = model(log).readings()
    assert "gpu_process_bytes" not in found and "sm_clock_hz" not in found


def test_the_facts_say_what_held_the_clocks_back_while_they_were_up(log, monkeypatch):
    monkeypatch.setattr(nvml, "read_or_nothing", lambda device: {"reasons": ["software_power_cap"]})
    facts = model(log, copies=False).facts()
    assert facts == {"gpu": "NVIDIA H100", "copies_included": False, "reasons": ["software_power_cap"]}
