"""The GPU of this machine, with a scripted driver or none at all: what is asked of the agent, what the doctor says."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from devices._config import BackendOptions, DeviceConfig, parse_config
from devices._errors import RuntimeMissing
from devices._local import Processes
from devices.agent.sensors import nvml
from devices.local_cpu import LocalCpu
from devices.local_cuda import LocalCuda
from devices.ssh_linux import SshLinux
from hilnas.deadline import Deadline
from hilnas.errors import DeviceError, UsageError
from hilnas.records import MeasurementProtocol
from profiler._artifacts import ArtifactStore
from profiler._plan import load_space, sample_workloads

UUID = "GPU-6a3c1f2e-0000-4a4b-9c9d-3f2e1d0c0b0a"
QUICK = replace(MeasurementProtocol(), min_warmup_s=0.01, min_measure_s=0.02, max_measure_s=0.05, timeout_s=60.0)


@pytest.fixture
def driver(monkeypatch):
    """Return the GPUs that a scripted driver has, by what a config calls them."""
    gpus = {"cuda:0": UUID, UUID: UUID, "cuda:3": "GPU-three"}
    monkeypatch.setattr(nvml, "read_or_nothing", lambda device: {"uuid": gpus[device]} if device in gpus else {})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return gpus


@pytest.fixture
def no_driver(monkeypatch):
    if nvml.problem("cuda:0") is None:
        pytest.skip("this machine has a GPU")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def device(backend=None, **options):
    return LocalCuda(DeviceConfig(name="gpu", kind="local_cuda", backend=backend, options=BackendOptions(**options)))


def test_the_agent_gets_the_uuid_whatever_the_gpu_is_called(driver):
    for name in ("", "cuda:0", UUID):
        found = device(device=name)
        assert found.effective().options.device == UUID
        assert found.sensors() == {"nvml": {"device": UUID}}
        assert found.leases() == ("gpu-6a3c1f2e-0000-4a4b-9c9d-3f2e1d0c0b0a",)
    assert device(device="cuda:3").effective().options.device == "GPU-three"


def test_without_a_driver_the_name_of_the_config_stands(driver):
    driver.clear()
    assert device(device="cuda:2").effective().options.device == "cuda:2"
    assert device().leases() == ("gpu-cuda:0",)


def test_a_scheduler_says_which_gpu_is_the_first(driver, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"3,{UUID}")
    assert device().effective().options.device == "GPU-three"
    assert device(device="cuda:1").effective().options.device == UUID
    assert device(device=UUID).effective().options.device == UUID
    with pytest.raises(DeviceError, match="no cuda:2"):
        device(device="cuda:2").effective()


def test_onnxruntime_runs_on_the_gpu_and_never_silently_on_the_cpu(driver):
    assert device("onnxruntime").effective().options.provider == "cuda"
    assert device("onnxruntime", provider="tensorrt").effective().options.provider == "tensorrt"
    assert device("torch_eager").effective().options.provider == "cpu"


@pytest.mark.parametrize("backend", ["openvino", "ncnn", "symbolic"])
def test_a_runtime_without_cuda_is_refused(driver, backend):
    with pytest.raises(UsageError, match="does not run on an NVIDIA GPU") as caught:
        device(backend).probe()
    assert "torch_eager" in caught.value.cause
    assert [check.name for check in device(backend).checks()][-1] == "config"


def test_a_gpu_in_the_options_of_a_cpu_is_refused():
    config = DeviceConfig(name="cpu", kind="local_cpu", options=BackendOptions(device="cuda:0"))
    with pytest.raises(UsageError) as caught:
        LocalCpu(config).probe()
    assert "local_cuda" in caught.value.remedy


@pytest.mark.parametrize("text", ["cuda", "cuda:-1", "0", "GPU-$(x)", "cuda:0,1", "gpu:0"])
def test_no_other_text_is_a_gpu(text):
    with pytest.raises(ValueError):
        BackendOptions(device=text)


def test_workers_are_started_anew_and_clocks_get_time_to_rise(driver):
    from devices.agent.backends import torch_compile, torch_eager

    for backend in (torch_eager, torch_compile):
        assert not backend.fork_safe({"device": UUID}) and backend.fork_safe({"device": ""})
    assert LocalCuda.protocol.min_warmup_s >= 1.0


def test_without_a_gpu_the_doctor_names_what_is_missing_and_the_next_command(no_driver):
    checks = device().checks()
    assert [check.name for check in checks] == ["gpu", "runtime"]
    assert not any(check.ok for check in checks)
    assert "nvidia-smi" in checks[0].remedy
    assert "CUDA" in checks[1].found or "GPU" in checks[1].found
    assert "CUDA" in checks[1].remedy


def test_without_a_gpu_a_campaign_stops_with_the_remedy(no_driver):
    with pytest.raises(RuntimeMissing) as caught:
        device().probe()
    assert "torch" in caught.value.what and "pytorch.org" in caught.value.remedy


def test_onnxruntime_without_cuda_names_the_wheel(no_driver):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this wheel has CUDA")
    with pytest.raises(RuntimeMissing) as caught:
        device("onnxruntime").probe()
    assert "onnxruntime-gpu" in caught.value.remedy


def test_a_gpu_is_measured_where_there_is_one(tmp_path, monkeypatch):
    """The only test of all this on real hardware; skipped elsewhere."""
    from profiler.builders.torch_eager import TorchEager

    if nvml.problem("cuda:0") is not None:
        pytest.skip("no GPU")
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")
    artifact = TorchEager(ArtifactStore(tmp_path)).build(sample_workloads(load_space("nasbench201"), 1, 0)[0])
    with device(copies=False).session(Deadline.after(120)) as session:
        run = session.measure(artifact, QUICK)
    assert run.status in ("ok", "rejected"), run.cause
    assert 0 < run.values("event_latency_s")[0] <= 2 * run.values()[0]
    assert run.values("gpu_peak_bytes")[0] > 1e6


@pytest.mark.parametrize(("backend", "module"), [("openvino",) * 2, ("ncnn",) * 2, ("torch_compile", "torch")])
def test_a_missing_runtime_is_named_with_what_installs_it(backend, module, monkeypatch):
    bare = os.path.realpath(sys.executable)  # outside of the environment that the tests run in
    if subprocess.run([bare, "-I", "-c", f"import {module}"], capture_output=True).returncode == 0:
        pytest.skip(f"{bare} has {module}")
    monkeypatch.setattr(sys, "executable", bare)
    config = DeviceConfig(name="cpu", kind="local_cpu", backend=backend)
    with pytest.raises(RuntimeMissing) as caught:
        LocalCpu(config).probe()
    assert backend in caught.value.what and "pip install" in caught.value.remedy
    assert [check.remedy for check in LocalCpu(config).checks()] == [caught.value.remedy]


def test_a_board_refuses_what_runs_here_only():
    from devices._runtimes import how_to_install, need_for_boards

    with pytest.raises(DeviceError, match="local devices only"):
        need_for_boards("pi", "torch_eager")
    need_for_boards("pi", "ncnn")
    values = {"name": "pi", "kind": "ssh_linux", "backend": "torch_compile", "ssh": {"host": "pi"}}
    board = SshLinux(parse_config(values, "test"))
    with pytest.raises(DeviceError, match="local devices only"):
        board.probe()
    assert [(check.ok, "torch" in check.found) for check in board.checks()] == [(False, True)]
    need_for_boards("pi", "of_a_third_party")
    assert how_to_install("ncnn") == "pip install 'hilnas[ncnn]'"
    assert how_to_install("of_a_third_party") == "pip install of_a_third_party"


def test_agents_are_told_what_their_sensors_need():
    assert Processes().claim == {}
    assert Processes({"nvml": {"device": "cuda:0"}}).claim == {"sensors": {"nvml": {"device": "cuda:0"}}}
