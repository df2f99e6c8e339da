"""All runtimes compute the same networks: outputs on the same seeded inputs, compared with ONNX Runtime's."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from devices.agent import _plugins
from hilnas import plugins
from hilnas.records import Workload
from profiler._artifacts import ArtifactStore
from profiler._plan import architecture_workload, block_workloads, load_space
from profiler.builders._base import Builder

SMALL = json.dumps({"depth": 1, "width": 8})
#: Module of the runtime, and what to install.
NEEDS = {"openvino": ("openvino",), "ncnn": ("ncnn", "pnnx"), "torch_eager": (), "torch_compile": ()}
BACKENDS = ["openvino", "ncnn", "torch_eager", pytest.param("torch_compile", marks=pytest.mark.slow)]
#: Every operation once, edges that are dead, an output that needs no convolution.
CELLS = (
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
    "|avg_pool_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_3x3~1|none~2|",
    "|skip_connect~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
)


@pytest.fixture(autouse=True)
def _threads():
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


def need(name):
    for module in NEEDS.get(name, ()):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: {_plugins.load('backends', name).INSTALL}")


def workloads():
    space = load_space("nasbench201", SMALL)
    return [architecture_workload(space, space.parse(cell)) for cell in CELLS]


def outputs(name, store, workload, options=None):
    options = {"threads": 1, **(options or {})}
    artifact = plugins.load("profiler.builders", name, Builder)(store).build(workload)
    backend = _plugins.load("backends", name)
    backend.prepare(options)
    model = backend.load(artifact.path, options)
    arrays = [item.numpy() if hasattr(item, "numpy") else item for item in model.run()]
    return [np.array(item, dtype=np.float32).ravel() for item in arrays]


def difference(first, second):
    assert len(first) == len(second) and all(a.shape == b.shape for a, b in zip(first, second, strict=True))
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", BACKENDS)
def test_outputs_agree_with_those_of_onnxruntime(name, store):
    need(name)
    for workload in workloads():
        wanted = outputs("onnxruntime", store, workload)
        assert np.abs(wanted[0]).max() > 1e-3, "zeros would agree with everything"
        assert difference(wanted, outputs(name, store, workload)) < 1e-3


@pytest.mark.parametrize("name", ["openvino", "ncnn", "torch_eager"])
def test_two_threads_compute_the_same(name, store):
    need(name)
    workload = workloads()[0]
    assert difference(outputs(name, store, workload), outputs(name, store, workload, {"threads": 2})) < 1e-4


@pytest.mark.parametrize("name", ["openvino", "ncnn", "torch_eager"])
def test_blocks_can_be_built_and_run(name, store):
    need(name)
    for workload in block_workloads(load_space("nasbench201", SMALL))[::5]:
        assert difference(outputs("onnxruntime", store, workload), outputs(name, store, workload)) < 1e-3


@pytest.mark.parametrize("name", ["ncnn", "torch_eager"])
def test_an_artifact_has_the_same_bytes_in_every_process(name, store, tmp_path):
    need(name)
    script = (
        "import sys, pathlib\n"
        "from hilnas import plugins\n"
        "from profiler._artifacts import ArtifactStore\n"
        "from profiler._plan import architecture_workload, load_space\n"
        "from profiler.builders._base import Builder\n"
        "space = load_space('nasbench201', sys.argv[3])\n"
        "workload = architecture_workload(space, space.parse(sys.argv[4]))\n"
        "store = ArtifactStore(pathlib.Path(sys.argv[2]))\n"
        "print(plugins.load('profiler.builders', sys.argv[1], Builder)(store).build(workload).sha256)\n"
    )
    command = [sys.executable, "-c", script, name, str(tmp_path / "other"), SMALL, CELLS[0]]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "7"}, check=True
    )
    here = plugins.load("profiler.builders", name, Builder)(store).build(workloads()[0])
    assert done.stdout.strip() == here.sha256


@pytest.mark.parametrize("name", ["openvino", "ncnn", "torch_eager"])
def test_a_corrupt_file_is_rejected_by_the_runtime(name, tmp_path):
    need(name)
    path = tmp_path / "model"
    path.write_bytes(hashlib.sha256(b"rubbish").digest() * 20)
    backend = _plugins.load("backends", name)
    backend.prepare({})
    with pytest.raises(Exception, match=r"."):
        backend.load(str(path), {})


def test_openvino_is_imported_without_what_reports_its_use_over_the_network():
    need("openvino")
    script = (
        "import sys, threading\n"
        "from devices.agent.backends import openvino as backend\n"
        "backend.prepare({})\n"
        "print([name for name, module in sys.modules.items() if module and ('telemetry' in name or '.ovc' in name)])\n"
        "print(threading.active_count())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "1"]


def test_openvino_computes_in_float32_unless_asked(store):
    need("openvino")
    backend = _plugins.load("backends", "openvino")
    artifact = plugins.load("profiler.builders", "openvino", Builder)(store).build(workloads()[0])
    backend.prepare({})
    facts = backend.load(artifact.path, {"threads": 2}).facts()
    assert "float" in facts["inference_precision"] and "16" not in facts["inference_precision"]
    assert facts["inference_threads"] == "2"


def test_openvino_in_bf16_is_another_device_or_says_that_the_cpu_has_none(store):
    need("openvino")
    workload = workloads()[0]
    wanted = outputs("onnxruntime", store, workload)
    try:
        found = outputs("openvino", store, workload, {"precision": "bf16"})
    except RuntimeError as error:
        assert "openvino has no bf16 on this CPU" in str(error)
        return
    assert 1e-5 < difference(wanted, found) < 0.1


def test_ncnn_without_optimisation_computes_the_same(store):
    need("ncnn")
    workload = workloads()[0]
    plain = outputs("ncnn", store, workload, {"optimization": "none"})
    assert difference(outputs("ncnn", store, workload), plain) < 1e-4


def test_torch_takes_no_model_file(store):
    from hilnas.errors import UsageError

    with pytest.raises(UsageError):
        plugins.load("profiler.builders", "torch_eager", Builder)(store).build(Workload("model:0", "model", (1, 3)))


def test_ncnn_takes_no_batch(store):
    need("ncnn")
    from hilnas.errors import HilnasError

    space = load_space("nasbench201", json.dumps({"depth": 1, "width": 8, "batch": 2}))
    workload = architecture_workload(space, space.parse(CELLS[0]))
    with pytest.raises(HilnasError, match="one sample at a time"):
        plugins.load("profiler.builders", "ncnn", Builder)(store).build(workload)


def test_what_compiling_leaves_is_kept_per_thread_count_and_bounded(tmp_path, monkeypatch):
    from devices.agent.backends import torch_compile

    one, two = torch_compile._cache(str(tmp_path), 1), torch_compile._cache(str(tmp_path), 2)
    assert one != two
    (tmp_path / "inductor-1" / "old.so").write_bytes(b"x" * 100)
    monkeypatch.setattr(torch_compile, "_MAX_CACHE_BYTES", 99)
    assert torch_compile._cache(str(tmp_path), 1) == one
    assert not (tmp_path / "inductor-1" / "old.so").exists()
