"""Exports come back as they were: CSV and JSON Lines of any measurements."""

import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from hilnas.records import Measurement, MetricValue, Workload
from profiler._export import as_csv, as_jsonl, jsonl_rows, layer_rows, measurement_rows
from profiler._layers import LayerProfile
from profiler._metrics import Recorded

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
METRICS = st.sampled_from(["energy_j", "net_energy_j", "peak_bytes", "gpu_peak_bytes", "sm_clock_hz", "load_s"])
VALUES = st.builds(MetricValue, FLOATS | st.none(), st.integers(0, 9), TEXTS | st.none())
WORKLOADS = st.builds(
    Workload,
    TEXTS.map(lambda text: f"model:{text}"),
    st.just("model"),
    st.lists(st.integers(1, 99), max_size=4).map(tuple),
    label=TEXTS,
)


@st.composite
def measurements(draw):
    metrics = draw(st.dictionaries(METRICS, VALUES, max_size=4))
    workload = draw(WORKLOADS)
    if draw(st.booleans()):
        return Measurement(workload, "failed", None, None, None, 0.0, 1, draw(TEXTS), metrics)
    low, middle, high = sorted(draw(st.lists(st.floats(1e-9, 1e3), min_size=3, max_size=3)))
    return Measurement(workload, "ok", middle, low, high, 0.9, draw(st.integers(1, 99)), None, metrics)


@given(st.lists(measurements(), min_size=1, max_size=5))
def test_a_csv_is_read_back_exactly(found):
    rows = measurement_rows(found)
    back = list(csv.DictReader(io.StringIO(as_csv(rows), newline="")))
    assert len(back) == len(found)
    for row, text, item in zip(rows, back, found, strict=True):
        assert list(text) == list(row), "the same columns in the same order"
        for name, value in row.items():
            if value is None:
                assert text[name] == ""
            elif isinstance(value, float):
                assert float(text[name]) == value, "no digit is lost"
            else:
                assert text[name] == str(value)
        for name, metric in item.metrics.items():
            assert text[name] == ("" if metric.value is None else repr(metric.value))


RECORDED = st.builds(
    Recorded,
    st.integers(0, 999),
    st.integers(1, 3),
    st.sampled_from(["latency", "energy", "layers"]),
    st.sampled_from(["ok", "rejected", "failed"]),
    TEXTS | st.none(),
    st.booleans(),
    st.just({}),
    st.dictionaries(METRICS, st.lists(FLOATS, max_size=4).map(tuple), max_size=3),
)


@given(st.lists(st.tuples(measurements(), st.lists(RECORDED, max_size=3)), min_size=1, max_size=4))
def test_json_lines_are_read_back_exactly_with_every_raw_reading(pairs):
    recorded = {item.workload.key: entries for item, entries in pairs}
    text = as_jsonl(jsonl_rows([item for item, _ in pairs], recorded, []))
    back = [json.loads(line) for line in text.splitlines()]
    assert len(back) == len(pairs)
    for row, (item, _) in zip(back, pairs, strict=True):
        assert (row["architecture"], row["latency_s"]) == (item.workload.name, item.latency_s)
        entries = recorded[item.workload.key]
        assert [entry["purpose"] for entry in row["recorded"]] == [entry.purpose for entry in entries]
        for got, entry in zip(row["recorded"], entries, strict=True):
            assert got["readings"] == {name: list(values) for name, values in entry.readings.items()}
        for name, metric in item.metrics.items():
            assert row[name] == metric.value


@given(WORKLOADS, st.lists(st.tuples(TEXTS, st.floats(1e-9, 1)), min_size=1, max_size=6))
def test_layers_are_read_back_exactly(workload, layers):
    facts = {
        "layers": [{"name": name, "operator": "x", "provider": "y", "median_s": median_s} for name, median_s in layers],
        "calls": 20,
        "plain_s": 0.1,
        "profiled_s": 0.2,
    }
    rows = layer_rows([LayerProfile.of(workload, facts, None)])
    back = list(csv.DictReader(io.StringIO(as_csv(rows), newline="")))
    assert [(row["layer"], float(row["median_s"])) for row in back] == layers
    assert sum(float(row["share"]) for row in back) - 1 < 1e-9


def test_nothing_is_an_empty_text():
    assert as_csv(measurement_rows([])) == "" and as_jsonl(jsonl_rows([], {}, [])) == ""
