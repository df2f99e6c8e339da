"""Execution providers of ONNX Runtime: what really ran is known, nothing falls back silently."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.agent.backends import onnxruntime as backend
from search_spaces._onnx import to_onnx
from search_spaces.nasbench201 import NasBench201


@pytest.fixture
def path(tmp_path):
    space = NasBench201(width=8, depth=1)
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(space.graph(space.sample_distinct(1, 0)[0])))
    return str(path)


def test_every_node_is_counted_by_the_provider_that_ran_it(path):
    options = {"profile_nodes": True}
    backend.prepare(options)
    model = backend.load(path, options)
    model.run()
    facts = model.facts()
    assert list(facts["nodes_by_provider"]) == ["CPUExecutionProvider"]
    assert facts["nodes_by_provider"]["CPUExecutionProvider"] > 3


def test_on_the_plain_cpu_no_profile_is_paid_for(path):
    backend.prepare({})
    assert backend.load(path, {}).facts() == {"providers": ["CPUExecutionProvider"]}


@pytest.mark.parametrize("provider", ["xnnpack", "cuda", "tensorrt"])
def test_a_provider_that_the_wheel_lacks_is_an_error_that_names_what_it_has(provider):
    import onnxruntime

    if backend._PROVIDERS[provider] in onnxruntime.get_available_providers():
        pytest.skip("this wheel has it")
    with pytest.raises(ImportError, match=r"only .*CPUExecutionProvider"):
        backend.prepare({"provider": provider})


def test_workers_are_forked_on_cpus_only():
    safe = {provider: backend.fork_safe({"provider": provider}) for provider in backend._PROVIDERS}
    assert safe == {"cpu": True, "xnnpack": True, "cuda": False, "tensorrt": False}


def test_strict_leaves_no_provider_to_fall_back_to():
    names = [name for name, _ in backend._chosen({"provider": "cuda", "strict": True})]
    assert names == ["CUDAExecutionProvider"]
    assert [name for name, _ in backend._chosen({"provider": "cuda"})][-1] == "CPUExecutionProvider"


def test_nodes_of_a_mixed_profile_are_counted_once_each():
    def event(name, provider, kind="Node"):
        return {"cat": kind, "name": name, "args": {"provider": provider}}

    events = [
        event("conv_1", "CUDAExecutionProvider"),
        event("conv_1", "CUDAExecutionProvider"),
        event("conv_2", "CUDAExecutionProvider"),
        event("topk", "CPUExecutionProvider"),
        {"cat": "Session", "name": "run"},
    ]
    assert backend.count_nodes(json.dumps(events)) == {"CUDAExecutionProvider": 2, "CPUExecutionProvider": 1}
    with pytest.raises(ValueError):
        backend.count_nodes("[]")


@given(st.text(max_size=80))
def test_a_profile_that_is_none_is_refused(text):
    with pytest.raises((ValueError, AttributeError, TypeError)):
        backend.count_nodes(text)
