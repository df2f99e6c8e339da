"""The commands as users type them."""

import json
import subprocess
import sys

import numpy as np
import pytest

from search_spaces._onnx import to_onnx
from search_spaces.nasbench201 import NasBench201

SMALL = "|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
LARGE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


@pytest.fixture
def hilnas(tmp_path):
    def run(*arguments, code=0, as_json=True):
        command = [sys.executable, "-m", "hilnas.cli", "--workspace", str(tmp_path / "w"), *arguments]
        command += ["--json"] if as_json else []
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout) if as_json and code == 0 else done

    return run


def test_there_are_no_runs_at_first(hilnas):
    assert hilnas("runs", "list")["runs"] == []


def test_a_run_is_profiled_listed_shown_and_exported(hilnas):
    done = hilnas("profile", "fake", "--space", "nasbench201", "--samples", "5", "--seed", "3")
    assert {"run_id", "ok", "failed", "rejected", "duty_cycle", "noise_floor", "elapsed_s"} <= set(done)
    assert (done["schema_version"], done["seed"], done["ok"]) == (1, 3, 5)
    again = hilnas("profile", "fake", "--space", "nasbench201", "--samples", "5", "--seed", "4")
    assert [row["run_id"] for row in hilnas("runs", "list")["runs"]] == [done["run_id"], again["run_id"]]
    shown = hilnas("runs", "show", done["run_id"])
    assert len(shown["measurements"]) == 5 and shown["environment"]["kind"] == "fake"
    exported = hilnas("runs", "export", done["run_id"], "--format", "csv", as_json=False).stdout.splitlines()
    assert {"architecture", "status", "latency_s"} <= set(exported[0].split(","))
    assert len(exported) == 6 and exported[1].startswith("nasbench201:|")
    assert hilnas("runs", "resume", done["run_id"])["ok"] == 5
    assert hilnas("runs", "path")["path"].endswith("hilnas.db")


def test_energy_memory_and_layers_are_asked_for_shown_and_exported(hilnas, tmp_path):
    space = NasBench201(width=8, depth=1)
    (tmp_path / "a.onnx").write_bytes(to_onnx(space.graph(space.parse(SMALL))))
    (tmp_path / "meter").write_text("#!/bin/sh\necho 2.5 W\n")
    (tmp_path / "meter").chmod(0o755)
    (tmp_path / "device_configs").mkdir()
    (tmp_path / "device_configs" / "metered.toml").write_text(
        f'kind = "local_cpu"\n[meter]\nargv = ["{tmp_path}/meter"]\n'
        "[energy]\nidle_s = 0.3\nactive_s = 0.5\nsensor_updates = 4\n"
    )
    done = hilnas("profile", "metered", "--model", "a.onnx", "--energy", "--per-layer", "--invocations", "1")
    assert done["metrics"]["peak_bytes"]["median"] > 1e5
    energy = done["metrics"]["energy_j"]  # a busy machine may reject it, and then says why
    assert (energy["median"] is None) == (energy["workloads"] == 0) == bool(energy["not_available"])
    if energy["workloads"]:
        assert energy["scope"].startswith("external (command); not included: ")
    (tmp_path / "device_configs" / "scripted.toml").write_text('kind = "fake"\n[fake]\npower_w = 2.0\n')
    run = hilnas("profile", "scripted", "--space", "nasbench201", "--samples", "2", "--energy", "--per-layer")
    (row, _) = hilnas("runs", "show", run["run_id"])["measurements"]
    assert row["energy_j"] == pytest.approx(2.0 * row["latency_s"], rel=0.05)
    shown = hilnas("runs", "show", run["run_id"], as_json=False).stdout
    assert "net_energy" in shown and " mJ" in shown
    lines = hilnas("runs", "export", run["run_id"], "--format", "jsonl", as_json=False).stdout.splitlines()
    purposes = {entry["purpose"] for entry in json.loads(lines[0])["recorded"]}
    assert purposes == {"latency", "energy", "layers"} and len(lines) == 2
    header = hilnas("runs", "export", run["run_id"], as_json=False).stdout.splitlines()[0].split(",")
    assert {"energy_j", "net_energy_j", "power_w", "energy_uncertainty_j", "energy_scope"} <= set(header)
    assert hilnas("runs", "export", run["run_id"], "--layers", as_json=False).stdout == "", "a script has no layers"


def test_the_same_seed_samples_the_same_architectures(hilnas):
    for _ in range(2):
        hilnas("profile", "fake", "--space", "nasbench201", "--samples", "4", "--seed", "5")
    first, second = (row["run_id"] for row in hilnas("runs", "list")["runs"])
    names = [{m["architecture"] for m in hilnas("runs", "show", run_id)["measurements"]} for run_id in (first, second)]
    assert names[0] == names[1]


def test_models_are_compared_a_against_b(hilnas, tmp_path):
    space = NasBench201(depth=1)
    for name, cell in (("a", SMALL), ("b", LARGE)):
        (tmp_path / f"{name}.onnx").write_bytes(to_onnx(space.graph(space.parse(cell))))
    models = ("profile", "local_cpu", "--model", "a.onnx", "--model", "b.onnx", "--invocations", "5")
    done = hilnas(*models)
    (compared,) = done["comparison"]
    assert (compared["name"], compared["reference"]) == ("b.onnx", "a.onnx")
    assert 1 < compared["lower"] <= compared["ratio"] <= compared["upper"]
    shown = hilnas(*models, "--gate", "ratio<=1.0", as_json=False, code=3)
    assert "b.onnx is " in shown.stdout and "times slower than a.onnx" in shown.stdout
    assert "does not hold" in shown.stderr
    hilnas(*models, "--gate", "ratio<=100")
    (tmp_path / "copy.onnx").write_bytes((tmp_path / "a.onnx").read_bytes())
    twice = hilnas("profile", "local_cpu", "--model", "a.onnx", "--model", "copy.onnx", as_json=False, code=2)
    assert "named twice" in twice.stderr


def test_a_model_the_runtime_rejects_is_recorded_and_the_rest_measured(hilnas, tmp_path):
    import onnx

    space = NasBench201(depth=1)
    data = to_onnx(space.graph(space.parse(SMALL)))
    (tmp_path / "good.onnx").write_bytes(data)
    model = onnx.load_model_from_string(data)
    model.graph.node[0].op_type = "NoSuchOperator"
    (tmp_path / "odd.onnx").write_bytes(model.SerializeToString())
    done = hilnas("profile", "local_cpu", "--model", "good.onnx", "--model", "odd.onnx", "--invocations", "5")
    assert done["failed"] == 1 and done["ok"] + done["rejected"] == 1
    assert "odd.onnx" in done["causes"] and "NoSuchOperator" in done["causes"]["odd.onnx"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("profile", "pi9", "--space", "nasbench201", "--samples", "3"), 2, "hilnas devices list"),
        (("profile", "fake", "--space", "nasbench999", "--samples", "3"), 2, "nasbench201"),
        (("profile", "fake", "--space", "nasbench201"), 2, "--samples"),
        (("profile", "fake"), 2, "--space"),
        (("profile", "fake", "--space", "nasbench201", "--samples", "0"), 2, "samples"),
        (("profile", "fake", "--space", "nasbench201", "--samples", "9000"), 3, "6"),
        (("profile", "fake", "--space", "nasbench201", "--architecture", "|conv~0|"), 2, "nasbench201"),
        (("profile", "fake", "--space", "nasbench201", "--samples", "2", "--space-option", "depth"), 2, "width=32"),
        (("profile", "fake", "--model", "missing.onnx"), 2, "missing.onnx"),
        (("profile", "fake", "--model", "a.onnx", "--gate", "speed<=2"), 2, "speed"),
        (("profile", "table:no/column", "--space", "nasbench201", "--samples", "2"), 2, "hilnas data import"),
        (("runs", "show", "2020"), 2, "hilnas runs list"),
        (("runs", "resume", "last"), 2, "hilnas runs list"),
        (("data", "import", "missing.csv", "--as", "x", "--space", "nasbench201"), 2, "missing.csv"),
        (("data", "export", "x"), 2, "hilnas data import"),
        (("devices", "show", "pi9"), 2, "fake"),
    ],
)
def test_bad_input_is_a_clear_error_with_the_next_step(hilnas, arguments, code, words):
    done = hilnas(*arguments, code=code, as_json=False)
    assert words in done.stderr and done.stdout == ""


def test_two_campaigns_on_one_device_at_once_are_refused(hilnas, tmp_path):
    (tmp_path / "device_configs").mkdir()
    (tmp_path / "device_configs" / "slow.toml").write_text('kind = "fake"\n[fake]\nsleep_s = 0.05\n')
    command = ["profile", "slow", "--space", "nasbench201", "--samples"]
    first = subprocess.Popen(
        [sys.executable, "-m", "hilnas.cli", "--workspace", str(tmp_path / "w1"), *command, "30"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        lock = _until(lambda: (tmp_path / "w1" / "logs").exists())
        assert lock
        refused = hilnas(*command, "2", code=4, as_json=False)
        assert str(first.pid) in refused.stderr
    finally:
        first.kill()
        first.wait()
    assert hilnas(*command, "2")["ok"] == 2


def test_a_dynamic_model_is_refused_with_what_to_do(hilnas, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [entry], [out])
    (tmp_path / "dynamic.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    refused = hilnas("profile", "fake", "--model", "dynamic.onnx", code=2, as_json=False)
    assert "dynamic shape" in refused.stderr and "make_dynamic_shape_fixed" in refused.stderr
    (tmp_path / "noise.onnx").write_bytes(np.random.default_rng(0).bytes(500))
    assert "no ONNX model" in hilnas("profile", "fake", "--model", "noise.onnx", code=2, as_json=False).stderr
    assert onnx.__version__


def _until(condition, seconds=20):
    import time

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False
