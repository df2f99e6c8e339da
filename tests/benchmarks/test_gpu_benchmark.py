"""The benchmark of a GPU without one: its arithmetic, what it says is missing, a rehearsal on the CPU."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks._gpu_energy import energy_of
from devices.agent.sensors import nvml

ROOT = Path(__file__).parents[2]
#: What the machine with the GPU has not got.
FOREIGN = ("pydantic", "click", "rich", "onnx", "onnxruntime", "paramiko", "sklearn", "plotly", "fvcore", "scipy")


def reading(at_s, power_w, energy_j):
    return {"at_s": at_s, "power_w": power_w, "energy_j": energy_j}


def test_energy_is_compared_between_steps_of_the_counter():
    # 100 W; the counter moves every 0.2 s, readings come every 0.05 s and begin in the middle of a step.
    samples = [reading(0.07 + 0.05 * i, 100.0, 20.0 * int((0.07 + 0.05 * i) / 0.2)) for i in range(60)]
    found = energy_of(samples)
    assert found["relative_difference"] == pytest.approx(0, abs=0.03)
    assert found["counter_j"] % 20 == pytest.approx(0)
    assert found["mean_power_w"] == pytest.approx(100, rel=0.03)


def test_a_ramp_of_power_is_integrated_by_trapezoids():
    samples = [reading(t, 10.0 * t, 5.0 * t * t) for t in range(1, 12)]
    found = energy_of(samples)
    assert found["integrated_j"] == pytest.approx(found["counter_j"]) and found["window_s"] == 9


@pytest.mark.parametrize(
    "samples", [[], [{}] * 9, [reading(i, 50.0, 7.0) for i in range(9)], [reading(0, None, 1.0)] * 4]
)
def test_energy_that_cannot_be_read_is_not_there(samples):
    assert energy_of(samples)["relative_difference"] is None


def row(latencies, doubt=None, event_s=None):
    passes = [{"latency_s": value, "doubt": doubt, "event_latency_s": event_s} for value in latencies]
    return gpu._with_ratios({"network": "n", "batch": 1, "passes": passes})


def test_the_summary_says_what_is_met():
    found = gpu.summary(
        {"networks": [row([1.0, 1.005], event_s=0.9), row([2.0, 1.99])], "energy": [{"relative_difference": -0.02}]}
    )
    assert found["repeatable"] is True and found["repeatability_worst"] == pytest.approx(0.005)
    assert found["energy_agrees"] is True and found["event_over_wall"] == [0.9, 0.9, 0.9]
    worse = gpu.summary({"networks": [row([1.0, 1.02], doubt="throttled")], "energy": [{"relative_difference": 0.2}]})
    assert worse["repeatable"] is False and worse["energy_agrees"] is False and worse["doubted"] == 2


def test_nothing_is_met_that_was_not_measured():
    found = gpu.summary({"networks": [row([1.0])]})
    assert found["repeatable"] is None and found["energy_agrees"] is None and found["event_over_wall"] is None


def test_without_a_gpu_it_says_what_is_missing(tmp_path):
    if nvml.problem("cuda:0") is None:
        pytest.skip("this machine has a GPU")
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path / "x.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 4 and "no GPU can be measured" in done.stderr
    assert not (tmp_path / "x.json").exists()


def test_it_needs_torch_and_numpy_alone(tmp_path):
    blocked = f"import sys; sys.modules.update(dict.fromkeys({FOREIGN!r}))\n"
    script = (
        "from pathlib import Path; from benchmarks import gpu\n"
        "networks = gpu.export_networks(2, Path(sys.argv[1]))\n"
        "print([item.batch for item in networks], all(item.path.stat().st_size > 1e5 for item in networks))"
    )
    command = [sys.executable, "-W", "ignore", "-c", blocked + script, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[1, 256] True", done.stderr


def test_a_rehearsal_on_the_cpu_measures_twice_and_keeps_everything(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(gpu, "BATCHES", (1, 2))
    monkeypatch.setattr(gpu, "QUICK_NETWORKS", 2)
    given = argparse.Namespace(out=tmp_path / "x.json", device="cpu", quick=True, networks=20, invocations=1)
    found = gpu.run(given)
    assert json.loads((tmp_path / "x.json").read_text()) == json.loads(json.dumps(found))
    assert [item["batch"] for item in found["networks"]] == [1, 2]
    assert all(len(item["passes"]) == 2 and item["repeatability"] < 10 for item in found["networks"])
    assert found["machine"]["versions"]["torch"]["name"] == "torch_eager"
    assert found["summary"]["energy_agrees"] is None
