import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.errors import UsageError
from hilnas.records import (
    Architecture,
    Constraint,
    Environment,
    Measurement,
    MeasurementProtocol,
    Reading,
    Run,
    Workload,
    canonical_json,
    content_hash,
)

DIMENSIONS = {"latency": "time", "energy": "energy", "macs": "count", "peak_memory": "bytes"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
WORKLOAD = Workload("space:1", "architecture", (1, 3, 32, 32))


@pytest.mark.parametrize(
    ("text", "metric", "limit", "confidence"),
    [
        ("latency=12ms", "latency", 0.012, None),
        ("latency<=12ms", "latency", 0.012, None),
        (" latency <= 12 ms ", "latency", 0.012, None),
        ("latency=12ms@95%", "latency", 0.012, 0.95),
        ("latency=12ms@97.5%", "latency", 0.012, 0.975),
        ("latency=12ms@50%", "latency", 0.012, 0.5),
        ("energy=3mJ", "energy", 0.003, None),
        ("macs=30M", "macs", 30e6, None),
        ("macs=3000", "macs", 3000, None),
        ("peak_memory=4MiB@90%", "peak_memory", 4 * 1024**2, 0.9),
    ],
)
def test_constraints_are_read(text, metric, limit, confidence):
    found = Constraint.parse(text, DIMENSIONS)
    assert found.metric == metric
    assert found.limit == pytest.approx(limit)
    assert found.confidence == (None if confidence is None else pytest.approx(confidence))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latency=25", "unit"),
        ("latency=25@95%", "unit"),
        ("latency=25mJ", "mJ"),
        ("power=3ms", "Known: energy, latency, macs, peak_memory"),
        ("latency=12ms@49%", "between 50 % and 100 %"),
        ("latency=12ms@100%", "between 50 % and 100 %"),
        ("latency=12ms@1.2.3%", "between 50 % and 100 %"),
        ("latency=12ms@95", "latency=12ms@95"),
        ("latency=0ms", "above 0"),
        ("latency=-1ms", "non-negative"),
        ("latency=\u0663ms", "not a quantity"),
        ("latency>12ms", "latency>12ms"),
        ("latency", "--max latency=12ms"),
        ("", "--max latency=12ms"),
    ],
)
def test_other_constraints_are_refused(text, said):
    with pytest.raises(UsageError) as error:
        Constraint.parse(text, DIMENSIONS)
    assert said in str(error.value)


@given(value=JSON)
def test_canonical_json_is_one_text(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(st.dictionaries(st.text(), st.integers()))
def test_the_order_of_keys_does_not_matter(value):
    assert content_hash(value) == content_hash(dict(reversed(value.items())))


def test_nan_has_no_hash():
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_hash(float("nan"))


def test_content_hashes_never_change():
    """Workspaces that exist hold these keys."""
    assert (
        content_hash({"b": [1, 2.5], "a": None}) == "e57f5d37865437a82e1108bafb4e5213dfe7e9085f5c253341ebbab30cac5faf"
    )
    assert WORKLOAD.key == "7b804bcc44aae22fee67b59cacb8d9e7"


def test_content_hashes_are_the_same_in_every_process():
    code = "from hilnas.records import Workload; print(Workload('space:1', 'architecture', (1, 3, 32, 32)).key)"
    command = [sys.executable, "-c", code]
    found = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert found == {WORKLOAD.key + "\n"}


def test_the_key_of_a_workload_depends_on_all_but_its_label():
    others = [
        Workload("space:2", "architecture", (1, 3, 32, 32)),
        Workload("space:1", "block", (1, 3, 32, 32)),
        Workload("space:1", "architecture", (2, 3, 32, 32)),
        Workload("space:1", "architecture", (1, 3, 32, 32), "float16"),
        Workload("space:1", "architecture", (1, 3, 32, 32), options='{"width":8}'),
    ]
    assert len({WORKLOAD.key, *(item.key for item in others)}) == 6
    labelled = Workload("space:1", "architecture", (1, 3, 32, 32), label="mine")
    assert labelled == WORKLOAD
    assert labelled.key == WORKLOAD.key
    assert (labelled.name, WORKLOAD.name) == ("mine", "space:1")


def test_environments_are_compared_by_content():
    assert Environment({"cpu": "x", "cores": 2}).key == Environment({"cores": 2, "cpu": "x"}).key
    assert Environment({"cpu": "x"}).key != Environment({"cpu": "y"}).key


def test_architectures_are_values():
    one, other = Architecture("s", (1, 2), "s:1,2"), Architecture("s", (1, 2), "s:01,02")
    assert one == other
    assert len({one, other}) == 1
    assert str(one) == "s:1,2"


@pytest.mark.parametrize(
    ("status", "cause", "fits"),
    [
        ("ok", None, True),
        ("ok", "too hot", False),
        ("rejected", "too hot", True),
        ("rejected", None, False),
        ("failed", "no memory", True),
        ("failed", None, False),
    ],
)
def test_a_run_is_ok_exactly_when_it_has_no_cause(status, cause, fits):
    if fits:
        assert Run(WORKLOAD, status, cause=cause).status == status
        return
    with pytest.raises(ValueError, match="cause"):
        Run(WORKLOAD, status, cause=cause)


def test_a_run_gives_the_values_of_a_metric():
    run = Run(WORKLOAD, "ok", (Reading("latency_s", (0.1, 0.2)), Reading("energy_j", (1.0,))))
    assert run.values() == (0.1, 0.2)
    assert run.values("energy_j") == (1.0,)
    assert run.values("peak_bytes") == ()


def test_the_half_width_is_relative():
    assert Measurement(WORKLOAD, "ok", 2.0, 1.8, 2.4, 0.9, 5).relative_half_width == pytest.approx(0.15)
    assert Measurement(WORKLOAD, "failed", None, None, None, 0.9, 0, "no").relative_half_width is None


def test_a_protocol_is_read_back_from_json():
    protocol = MeasurementProtocol(min_invocations=3, max_measure_s=1.5)
    assert MeasurementProtocol(**json.loads(canonical_json(protocol.to_json()))) == protocol
