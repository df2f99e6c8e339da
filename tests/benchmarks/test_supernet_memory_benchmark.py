"""The benchmark of training memory: its command line, its figures, and that a GPU's machine needs little."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import _supernets, supernet_memory
from hilnas.errors import DeviceError
from profiler._memory_probe import MeasuredMemory
from profiler._training_memory import Calibration

ROOT = Path(__file__).parents[2]
#: What a machine with a GPU may lack.
FOREIGN = ("pydantic", "click", "rich", "onnx", "onnxruntime", "paramiko", "sklearn", "plotly", "fvcore", "scipy")


def rows(n):
    """Return n different sub-spaces in the form of the files."""
    found = []
    for i in range(n):
        space = _supernets.draw_sub_space(i, 4)
        layers = [
            {"kernels": k, "activation_bits": [list(a) for a in acts], "weight_bits": [list(w) for w in weights]}
            for k, acts, weights in space.layers
        ]
        found.append({"layers": layers, "measured_mb": 800 + 40.0 * space.candidates})
    return found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows(16)))
    return path


def test_a_file_is_fitted_and_another_judged(file, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(rows(20)[12:]))
    assert supernet_memory.main(["--fit", str(file), "--evaluate", str(other), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"mae_mb", "r2", "worst_relative"} <= found.keys()
    assert found["n"] == 8 and found["not_fitted"] == 4 and "steps" not in found
    assert len(found["predicted_mb"]) == 8


def test_without_another_file_each_sub_space_is_left_out(file, capsys):
    assert supernet_memory.main(["--fit", str(file)]) == 0
    said = capsys.readouterr().out
    assert "each sub-space left out in turn" in said and "batch 256" in said


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found[3].pop("measured_mb"),
        lambda found: found[3]["layers"].pop(),
        lambda found: found[3]["layers"][0].update(kernels=[4]),
        lambda found: found.clear(),
    ],
)
def test_bad_input_is_said_without_a_traceback(spoil, file, capsys):
    found = rows(16)
    spoil(found)
    file.write_text(json.dumps(found))
    assert supernet_memory.main(["--fit", str(file), "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and str(file) in said.err and "Traceback" not in said.err


def test_evaluating_needs_something_fitted(file):
    with pytest.raises(SystemExit) as raised:
        supernet_memory.main(["--evaluate", str(file)])
    assert raised.value.code == 2


@pytest.mark.parametrize("family", _supernets.FAMILIES)
def test_a_network_is_what_its_seed_says_and_trains(family):
    first, again = (supernet_memory.random_network(5, family).with_batch(2) for _ in range(2))
    assert first == again
    found = first.predict()
    assert found == again.predict() and found.activation_bytes > 0
    assert found.peak_bytes > found.weight_bytes + found.activation_bytes


def test_a_batch_is_chosen_for_a_size():
    network = supernet_memory.sized(supernet_memory.random_network(1, "plain"), 200_000_000)
    assert network.predict().peak_bytes == pytest.approx(200e6, rel=0.03)


def test_sub_spaces_for_a_gpu_grow_with_the_size_that_is_wanted():
    small, large = (supernet_memory.random_sub_space(3, size, "cuda") for size in (10**9, 9 * 10**10))
    assert small.arguments["layers"] != large.arguments["layers"]
    assert small.plan.device == "cuda" and small.plan.architecture_step is not None


def test_the_table_keeps_a_network_that_failed(monkeypatch, capsys):
    networks = [supernet_memory.random_network(1, "plain").with_batch(2)] * 2
    outcomes = iter([MeasuredMemory(4_000_000, 4_000_000, "2"), DeviceError("it was killed", "no memory")])

    def measure(*_):
        outcome = next(outcomes)
        if isinstance(outcome, DeviceError):
            raise outcome
        return outcome

    monkeypatch.setattr(supernet_memory, "_measure", measure)
    table = supernet_memory.compare(networks, Calibration(), 1)
    assert table[0]["error"] == table[0]["predicted"]["peak_bytes"] / 4_000_000 - 1
    assert table[1]["error"] is None and "no memory" in table[1]["cause"]
    assert not supernet_memory.judge(table, {"median": 100.0})["met"]


@pytest.mark.parametrize(
    ("errors", "met"),
    [([0.01, -0.04, 0.1], True), ([0.01, -0.06, 0.1], False), ([0.01, -0.02, 0.2], False), ([], False)],
)
def test_the_summary_says_what_is_met(errors, met):
    found = supernet_memory.judge([{"error": error} for error in errors], {"median": 0.05, "worst": 0.15})
    assert found["met"] is met and found["n"] == len(errors)


def test_a_machine_with_torch_and_numpy_alone_can_run_it():
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({FOREIGN!r}))\n"
        "from benchmarks import supernet_memory as b\n"
        "import profiler._memory_probe\n"
        "print(b.random_sub_space(1, 10**9, 'cuda').with_batch(2).predict().peak_bytes > 0)"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
