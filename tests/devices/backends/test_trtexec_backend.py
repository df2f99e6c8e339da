"""trtexec: both schemas of its times, engines built once, failures with its own words. The program is a stand-in."""

import json
import stat
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.agent.backends import trtexec

PROTOCOL = {"min_warmup_s": 0.08, "min_measure_s": 0.4, "min_calls": 30}
#: As TensorRT 7 and 8.2 wrote it, and as 8.6 and later do.
OLD = {
    "startInMs": 250.0, "endInMs": 250.1, "startComputeMs": 250.1, "endComputeMs": 251.6, "startOutMs": 251.6,
    "endOutMs": 251.7, "inMs": 0.1, "computeMs": 1.5, "outMs": 0.1, "latencyMs": 1.7, "endToEndMs": 2.0,
}  # fmt: skip
NEW = {
    "startEnqMs": 250.0, "endEnqMs": 250.05, "startH2dMs": 250.0, "endH2dMs": 250.1, "startComputeMs": 250.1,
    "endComputeMs": 251.6, "startD2hMs": 251.6, "endD2hMs": 251.7, "h2dMs": 0.1, "computeMs": 1.5, "d2hMs": 0.1,
    "latencyMs": 1.7,
}  # fmt: skip
PROGRAM = """#!{python}
import json, sys
given = dict(word[2:].split("=", 1) if "=" in word else (word[2:], "") for word in sys.argv[1:])
print("&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # trtexec")
if "help" in given:
    print("{flags}")
    sys.exit(0)
if "onnx" in given:
    if b"bad" in open(given["onnx"], "rb").read():
        print("[E] ModelImporter.cpp: no operator Frobnicate")
        print("&&&& FAILED TensorRT.trtexec")
        sys.exit(1)
    open(given["saveEngine"], "w").write("engine")
    open(given["saveEngine"] + ".words", "w").write(" ".join(sys.argv[1:]))
    open({log!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
if "exportTimes" in given:
    entry = {entry!r}
    warm = dict(entry, startComputeMs=1.0, computeMs=99.0)
    open(given["exportTimes"], "w").write(json.dumps([warm] + [entry] * int(given["iterations"])))
print("&&&& PASSED TensorRT.trtexec")
"""


@pytest.fixture(params=[("8201", OLD, "--workspace --buildOnly"), ("100300", NEW, "--memPoolSize --skipInference")])
def program(request, tmp_path, monkeypatch):
    version, entry, flags = request.param
    log = tmp_path / "log"
    path = tmp_path / "bin" / "trtexec"
    path.parent.mkdir()
    path.write_text(PROGRAM.format(python=sys.executable, version=version, entry=entry, flags=flags, log=str(log)))
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(path.parent))
    trtexec.prepare({})
    return version, log


@pytest.fixture
def options(tmp_path):
    return {"precision": "fp16", "workspace_mib": 256, "cache_folder": str(tmp_path / "engines")}


@pytest.mark.parametrize("entry", [OLD, NEW], ids=["old", "new"])
def test_both_schemas_give_the_compute_times_after_the_warm_up(entry):
    warm = {**entry, "startComputeMs": 10.0, "computeMs": 9.0}
    text = json.dumps([warm, entry, {**entry, "computeMs": 1.25}])
    assert trtexec.compute_times_ns(text, 80) == [1_500_000, 1_250_000]


def test_an_engine_is_built_once_and_its_samples_are_raw(program, options, tmp_path):
    version, log = program
    model = tmp_path / "m.onnx"
    model.write_bytes(b"good")
    assert trtexec.facts() == {"name": "trtexec", "version": version}
    first, second = trtexec.load(str(model), options), trtexec.load(str(model), options)
    assert first.facts()["build_s"] > 0 and second.facts()["build_s"] == 0.0
    result = second.measure(PROTOCOL)
    assert result["samples_ns"] == [1_500_000] * 30
    words = log.read_text().splitlines()
    assert len(words) == 1 and "--fp16" in words[0] and f"timing-{version}-fp16.cache" in words[0]
    assert ("--skipInference" in words[0]) == (version == "100300")
    assert ("--memPoolSize=workspace:256" in words[0]) == (version == "100300")


def test_another_precision_is_another_engine(program, options, tmp_path):
    _, log = program
    model = tmp_path / "m.onnx"
    model.write_bytes(b"good")
    trtexec.load(str(model), options)
    trtexec.load(str(model), dict(options, precision="int8"))
    assert len(log.read_text().splitlines()) == 2


def test_a_model_it_rejects_fails_with_its_own_words_and_leaves_nothing(program, options, tmp_path):
    model = tmp_path / "m.onnx"
    model.write_bytes(b"bad")
    with pytest.raises(RuntimeError, match="no operator Frobnicate"):
        trtexec.load(str(model), options)
    assert not list((tmp_path / "engines").glob("*.engine*"))


def test_a_board_without_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImportError, match="neither on PATH"):
        trtexec.prepare({})


def test_paced_load_is_refused_and_not_ignored(program, options, tmp_path):
    model = tmp_path / "m.onnx"
    model.write_bytes(b"good")
    with pytest.raises(ValueError, match="back to back"):
        trtexec.load(str(model), options).measure(dict(PROTOCOL, rate_hz=10.0))


@pytest.mark.parametrize(
    "text", ["{}", "[]", "[1]", "nonsense", '[{"computeMs": 1}]', '[{"startComputeMs": 1, "computeMs": -1}]',
             '[{"startComputeMs": NaN, "computeMs": 1}]', '[{"startComputeMs": 1, "computeMs": "x"}]'],
)  # fmt: skip
def test_times_of_another_form_are_refused(text):
    with pytest.raises(ValueError):
        trtexec.compute_times_ns(text, 0.0)


@given(
    st.recursive(
        st.none() | st.floats() | st.text(max_size=5),
        lambda x: st.lists(x) | st.dictionaries(st.text(max_size=9), x),
        max_leaves=8,
    )
)
def test_any_json_is_times_or_refused(value):
    try:
        found = trtexec.compute_times_ns(json.dumps(value), 0.0)
    except ValueError:
        return
    assert all(ns > 0 for ns in found)
