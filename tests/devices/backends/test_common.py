"""What the backends share: the same seeded inputs, options that are refused and not ignored, the GPU that is seen."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.agent import _plugins
from devices.agent.backends import _common, _gpu


@given(
    st.lists(st.integers(1, 5), max_size=4),
    st.sampled_from(["float32", "float16", "float64", "int64", "uint8", "bool"]),
)
def test_inputs_are_the_same_every_time(shape, dtype):
    first, second = _common.seeded("x", shape, dtype), _common.seeded("x", tuple(shape), dtype)
    assert first.shape == tuple(shape) and first.dtype == dtype
    assert np.array_equal(first, second)


def test_floats_are_normal_and_integers_are_valid_tokens():
    floats, integers = _common.seeded("x", [100, 100], "float32"), _common.seeded("x", [100, 100], "int64")
    assert abs(floats.mean()) < 0.05 and abs(floats.std() - 1) < 0.05
    assert set(np.unique(integers)) == {0, 1}


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [([1, "batch"], "float32", "dynamic"), ([0], "float32", "dynamic"), ([1], "string", "unsupported type string")],
)
def test_what_cannot_be_fed_is_refused(shape, dtype, words):
    with pytest.raises(ValueError, match=words):
        _common.seeded("x", shape, dtype)


@pytest.mark.parametrize("name", _plugins.names("backends"))
def test_a_backend_has_what_the_agent_asks_for(name):
    backend = _plugins.load("backends", name)
    for function in ("prepare", "facts", "load"):
        assert callable(getattr(backend, function))


def test_backends_are_listed_and_read_without_any_runtime():
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'openvino', 'ncnn', 'onnxruntime', 'pynvml', 'numpy']))\n"
        "from devices.agent import _plugins\n"
        "print(*[_plugins.load('backends', name).__name__.split('.')[-1] for name in _plugins.names('backends')])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"ncnn", "onnxruntime", "openvino", "torch_compile", "torch_eager", "trtexec"} <= set(done.stdout.split())
    assert not any(name.startswith("_") for name in done.stdout.split())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("openvino", {"optimization": "none"}, "openvino cannot do optimization = 'none'"),
        ("openvino", {"precision": "int8"}, "openvino runs in bf16, fp16, fp32, not in int8"),
        ("openvino", {"spinning": False}, "spinning"),
        ("ncnn", {"optimization": "basic"}, "all or none"),
        ("ncnn", {"precision": "tf32"}, "not in tf32"),
        ("ncnn", {"device": "cuda:0"}, "device"),
        ("torch_eager", {"optimization": "none"}, "torch_eager cannot do optimization"),
        ("torch_eager", {"precision": "fp16"}, "fp32, bf16, not in fp16"),
        ("torch_compile", {"provider": "cuda"}, "torch_compile cannot do provider"),
        ("onnxruntime", {"precision": "bf16"}, "onnxruntime runs in fp32, int8, not in bf16"),
    ],
)
def test_an_option_that_a_runtime_does_not_know_is_refused(name, options, words):
    with pytest.raises(ValueError, match=words):
        _plugins.load("backends", name).prepare(options)


@pytest.mark.parametrize(
    ("device", "visible"), [("cuda:1", "1"), ("GPU-6a3c-x", "GPU-6a3c-x"), ("MIG-1/2/3", "MIG-1/2/3")]
)
def test_only_the_gpu_that_is_measured_is_seen(monkeypatch, device, visible):
    monkeypatch.setattr(os, "environ", {})
    assert _gpu.select({"device": device})
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID", "numbers as in nvidia-smi"
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


def test_tf32_is_left_on_where_it_is_asked_for_and_nothing_is_hidden_without_a_gpu(monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    assert not _gpu.select({"device": ""}) and os.environ == {}
    _gpu.select({"device": "cuda:0", "precision": "tf32"})
    assert "NVIDIA_TF32_OVERRIDE" not in os.environ
