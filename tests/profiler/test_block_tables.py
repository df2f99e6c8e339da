"""Tables of blocks: keys, values, spreads and counts arrive, and what a lookup table reads is {key: seconds}."""

import json
import math
import pickle

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilnas.errors import BadFile, UnknownName, UsageError
from profiler._data_export import exported_text, resolved
from profiler._database import Database
from profiler._import import import_request, import_table
from profiler._migrations import MIGRATIONS
from profiler._workspace import Workspace
from profiler.importers._blocks import Cell, pooled
from profiler.importers.hilnas_export import attributes_of as hilnas_attributes
from profiler.importers.ofa_yaml import attributes_of

SLOW_FIXTURE = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
BLOCK = "expanded_conv-input:7x7x192-output:7x7x320-expand:6-kernel:5-stride:1-idskip:0"


@pytest.fixture
def store(tmp_path):
    with Workspace.open(tmp_path / "w") as opened:
        yield opened.store


def load(store, path, text, *units, name="t", **options):
    path.write_text(text)
    return import_table(store, import_request(path, name, units=units, **options))


def test_keys_of_once_for_all_say_what_the_block_is():
    assert attributes_of(BLOCK) == {
        "operator": "expanded_conv", "input": [7, 7, 192], "output": [7, 7, 320],
        "expand": 6, "kernel": 5, "stride": 1, "idskip": 0,
    }  # fmt: skip
    with_se = "expanded_conv-input:7x7x160-output:7x7x160-expand:960-kernel:5-stride:1-idskip:1-se:1-hs:1"
    assert attributes_of(with_se)["se"] == 1 and attributes_of(with_se)["expand"] == 960
    assert attributes_of("Logits-input:7x7x1280-output:1000")["output"] == [1000]
    assert attributes_of("conv/1x16x32x32/1x16x32x32/w32a32") == {} == attributes_of("a-input:1-output:2-odd:x")


ENTRIES = st.dictionaries(
    st.text("abcXYZ_019-:x/#'\"{} ", min_size=1, max_size=30).filter(lambda key: key.strip() == key),
    st.tuples(st.integers(1, 10**6), st.floats(1e-6, 1e6), st.floats(0, 1e6)),
    min_size=1,
    max_size=12,
)


@SLOW_FIXTURE
@given(entries=ENTRIES)
def test_once_for_alls_tables_arrive_and_go_out_as_they_came(store, tmp_path, entries):
    written = {key: {"count": n, "mean": mean, "var": var} for key, (n, mean, var) in entries.items()}
    load(store, tmp_path / "note10_lookup_table.yaml", yaml.safe_dump(written), "ms")
    column = store.block_column("t")
    assert column.values == pytest.approx({key: mean / 1e3 for key, (_, mean, _) in entries.items()}, rel=1e-12)
    assert column.spreads == pytest.approx({k: math.sqrt(v) / 1e3 for k, (_, _, v) in entries.items()}, rel=1e-12)
    assert column.counts == {key: n for key, (n, _, _) in entries.items()}
    assert (column.kind, column.dimension, column.unit, column.spread_kind) == ("blocks", "time", "ms", "sd")
    text = exported_text(store, resolved(store, "t"), "ofa_yaml")
    for key, values in yaml.safe_load(text).items():
        assert values == pytest.approx(written[key], rel=1e-9)
    load(store, tmp_path / "again.yaml", text, name="again")  # what hilnas writes says its unit
    assert store.block_column("again").values == pytest.approx(column.values, rel=1e-9)


def test_a_source_without_a_unit_is_refused_until_the_user_names_it(store, tmp_path):
    text = f"{BLOCK}: {{count: 154, mean: 5.26, var: 0.19}}\n"
    with pytest.raises(UsageError, match="unit of the column 'latency'") as caught:
        load(store, tmp_path / "t.yaml", text)
    assert "--unit latency=ms" in caught.value.remedy and store.table_names() == []
    load(store, tmp_path / "t.yaml", text, "us")
    assert store.block_column("t").values == pytest.approx({BLOCK: 5.26e-6})
    load(store, tmp_path / "t.yaml", "a: 5\nb: {mean: 1e-3}\n", "s")
    assert store.block_column("t").values == {"a": 5.0, "b": 0.001} and store.block_column("t").counts == {}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no single mapping"),
        ("- a\n", "no single mapping"),
        ("a: [1]\n", "nested"),
        ("a: {mean: [1]}\n", "nested"),
        ("a: {mean: {b: 1}}\n", "nested"),
        ("a: {mean: 1}\n---\nb: {mean: 1}\n", "no single mapping"),
        ("a: &x {mean: 1}\nb: *x\n", "anchor"),
        ("a: {mean: !!python/object/apply:os.getpid []}\n", "tag"),
        ("a: {mean: !!float 1}\n", "tag"),
        ("a: {mean: 1, mean: 2}\n", "stands twice"),
        ("a: {mean: 1}\na: {mean: 2}\n", "stands twice"),
        ("a: {mean: fast}\n", "fast"),
        ("a: {mean: .nan}\n", "nan"),
        ("a: {mean: nan}\n", "not finite"),
        ("a: {mean: 1e999}\n", "not finite"),
        ("a: {mean: -1}\n", "negative"),
        ("a: {mean: 1, var: -1}\n", "negative variance"),
        ("a: {mean: 1, count: 0}\n", "count"),
        ("a: {mean: 1, count: 1.5}\n", "count"),
        ("a: {median: 1}\n", "no mean"),
        ("a: {}\n", "no mean"),
        ("'': {mean: 1}\n", "without a name"),
        ("a: {mean: 1\n", "no YAML"),
        ("a: {mean: 1}\x01\n", "no YAML"),
    ],
)
def test_a_yaml_that_is_no_table_is_refused(store, tmp_path, text, word):
    with pytest.raises(BadFile) as caught:
        load(store, tmp_path / "t.yaml", text, "ms")
    assert word in str(caught.value) and store.table_names() == []


def fbnet_line(**changes):
    """Return one line in the schema of mobile-vision's runtime_lut."""
    record = {
        "op_type": "Int8ConvRelu",
        "op_args": ['name: "stride"\ni: 2\n', 'name: "kernels"\nints: 3\nints: 5\n', 'name: "ws_nbytes_limit"\ni: 9\n'],
        "input_shapes": [[1, 224, 224, 3], [32, 3, 3, 3], [32]],
        "input_dtypes": [6, 6, 2],
        **{f"runtime_us_p{p}": 900.0 + p for p in (0, 10, 50, 90, 100)},
        "device": "SM-G950U-7.0-24",
    }
    return json.dumps({**record, **changes}) + "\n"


KEY = "Int8ConvRelu(kernels=3,5,stride=2) 1x224x224x3,32x3x3x3,32 uint8,uint8,int32"


def test_fbnets_operators_arrive_with_their_percentiles(store, tmp_path):
    load(store, tmp_path / "SM-G950U-op_lut_database.json", fbnet_line() + "\n" + fbnet_line(op_type="FC"))
    column = store.block_column("t")
    assert column.name == "SM-G950U-7.0-24" and column.unit == "us" and column.spread_kind == "half_p10_p90"
    assert column.values[KEY] == pytest.approx(950e-6) and column.spreads[KEY] == pytest.approx(40e-6)
    assert store.block_column("t", "SM-G950U-7.0-24_p90").values[KEY] == pytest.approx(990e-6)
    names = [item.name for item in store.block_columns("t")]
    assert names == ["SM-G950U-7.0-24", *(f"SM-G950U-7.0-24_p{p}" for p in (0, 10, 90, 100))]
    attributes = store.block_attributes("t")[KEY]
    assert attributes["operator"] == "Int8ConvRelu" and attributes["arguments"] == {"kernels": "3,5", "stride": "2"}
    assert attributes["inputs"] == [[1, 224, 224, 3], [32, 3, 3, 3], [32]]


@SLOW_FIXTURE
@given(
    st.lists(st.tuples(st.integers(1, 4), st.lists(st.floats(0, 1e7), min_size=5, max_size=5)), min_size=1, max_size=9)
)
def test_operators_that_were_measured_again_are_pooled(store, tmp_path, rows):
    percentiles = [sorted(values) for _, values in rows]
    lines = [
        fbnet_line(
            input_shapes=[[1, n]],
            **{f"runtime_us_p{p}": value for p, value in zip((0, 10, 50, 90, 100), values, strict=True)},
        )
        for (n, _), values in zip(rows, percentiles, strict=True)
    ]
    load(store, tmp_path / "lut.jsonl", "".join(lines))
    column = store.block_column("t")
    for n in {n for n, _ in rows}:
        same = [values[2] for (m, _), values in zip(rows, percentiles, strict=True) if m == n]
        key = next(key for key in column.values if f" 1x{n} " in key)
        assert column.values[key] == pytest.approx(np.mean(same) * 1e-6, abs=1e-15)
        assert column.counts.get(key, 1) == (len(same) if len(same) > 1 else 1)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (fbnet_line(device=5), "device"),
        (fbnet_line(op_type="../x"), "device"),
        (fbnet_line(input_shapes=[[-1]]), "input_shapes"),
        (fbnet_line(input_shapes=[[1.5]]), "input_shapes"),
        (fbnet_line(input_dtypes=6), "input_dtypes"),
        (fbnet_line(op_args=[5]), "op_args"),
        (fbnet_line(op_args=["i: 5"]), "has no name"),
        (fbnet_line(runtime_us_p50="fast"), "no number"),
        (fbnet_line(runtime_us_p50=-1, runtime_us_p0=-2, runtime_us_p10=-1), "negative"),
        (fbnet_line(runtime_us_p10=99999.0), "do not rise"),
        (fbnet_line().replace("950.0", "NaN"), "NaN"),
        (fbnet_line().replace("950.0", "1e999"), "too large"),
        (fbnet_line().replace('"device"', '"op_type"'), "stands twice"),
        (fbnet_line()[:-20], "no JSON"),
        ('{"op_type": "FC"}', "no op_args"),
        ('["op_type"]', "no op_type"),
        ('"op_type"' + " " * 70_000, "longer than"),
    ],
)
def test_a_line_that_is_no_operator_is_refused(store, tmp_path, line, word):
    with pytest.raises(BadFile) as caught:
        load(store, tmp_path / "lut.json", line)
    assert (word in str(caught.value) and "line 1" in str(caught.value)) or word == "negative"


def test_kernels_of_nn_meter_arrive_with_their_configs(store, tmp_path):
    config = {"HW": 13, "CIN": 212, "COUT": 176, "KERNEL_SIZE": 1, "STRIDES": 1}
    detailed = {"conv-bn-relu": {"YB2F4N": {"latency": "37.53 +- 0.314", "config": config}}}
    load(store, tmp_path / "detailed.json", json.dumps(detailed))
    key = "conv-bn-relu(CIN=212,COUT=176,HW=13,KERNEL_SIZE=1,STRIDES=1)"
    column = store.block_column("t")
    assert column.values == pytest.approx({key: 0.03753}) and column.spreads == pytest.approx({key: 0.000314})
    assert (column.unit, column.batch) == ("ms", 1)
    assert store.block_attributes("t")[key] == {"operator": "conv-bn-relu", "config": config}
    plain = {"conv-bn-relu": {"YB2F4N": {"latency": "37.53 +- 0.314"}}}
    load(store, tmp_path / "profiled_conv-bn-relu.json", json.dumps(plain))
    assert set(store.block_column("t").values) == {"conv-bn-relu#YB2F4N"}
    (tmp_path / "conv-bn-relu_prior.json").write_text(json.dumps({"conv-bn-relu": {"YB2F4N": {"config": config}}}))
    load(store, tmp_path / "profiled_conv-bn-relu.json", json.dumps(plain))
    assert set(store.block_column("t").values) == {key}


@SLOW_FIXTURE
@given(
    st.dictionaries(
        st.text("ABCDEF0123", min_size=6, max_size=6),
        st.tuples(st.floats(1e-3, 1e6), st.floats(0, 1e3), st.integers(1, 9)),
        min_size=1,
        max_size=9,
    )
)
def test_latencies_of_nn_meter_keep_mean_and_spread(store, tmp_path, kernels):
    content = {
        name: {"latency": f"{mean} +- {sd}", "config": {"HW": i}}
        for i, (name, (mean, sd, _)) in enumerate(kernels.items())
    }
    load(store, tmp_path / "k.json", json.dumps({"add": content}))
    column = store.block_column("t")
    for i, (mean, sd, _) in enumerate(kernels.values()):
        assert column.values[f"add(HW={i})"] == pytest.approx(mean / 1e3)
        assert column.spreads[f"add(HW={i})"] == pytest.approx(sd / 1e3)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"conv": {"A": {"config": {"HW": 1}}}}', "no latency"),
        ('{"conv": {"A": {"latency": "fast +- 1"}}}', "no latency"),
        ('{"conv": {"A": {"latency": "1 +- "}}}', "no latency"),
        ('{"conv": {"A": {"latency": "1e999 +- 1"}}}', "not finite"),
        ('{"conv": {"A": {"latency": "-1 +- 1"}}}', "negative"),
        ('{"conv": {"A": {"latency": "1 +- -1"}}}', "spread"),
        ('{"conv": {"A": {"latency": null, "x": "+-"}}}', "no number"),
        ('{"conv": {"A": {"latency": "1 +- 1", "config": [1]}}}', "no object"),
        ('{"conv": {"A": {"latency": "1 +- 1", "config": {"HW": "x"}}}}', "no number"),
        ('{"conv": {"A": "1 +- 1"}}', "objects"),
        ('{"conv": "1 +- 1"}', "nn-Meter"),
        ('["+-"]', "nn-Meter"),
        ('{"conv": {"A": {"latency": "1 +- 1"}, "A": {}}}', "stands twice"),
    ],
)
def test_a_json_that_is_none_of_nn_meter_is_refused(store, tmp_path, text, word):
    with pytest.raises(BadFile) as caught:
        load(store, tmp_path / "k.json", text)
    assert word in str(caught.value) and store.table_names() == []


def test_the_blocks_of_hw_nas_bench_are_a_table_with_a_column_a_metric(store, tmp_path):
    conv, skip = "ConvBlock_H32_W32_Cin16_Cout16_exp1_kernel3_stride1_group1", "Skip_H32_W32_Cin16_Cout16_stride1"
    content = {"fbnet": {"edgegpu_latency": {conv: 1.5, skip: 0.0}, "edgegpu_energy": {conv: np.float64(3.0)}}}
    (tmp_path / "hw.pickle").write_bytes(pickle.dumps(content))
    import_table(store, import_request(tmp_path / "hw.pickle", "hw", "fbnet"))
    assert store.block_column("hw", "edgegpu_latency").values == {conv: 0.0015, skip: 0.0}
    assert store.block_column("hw", "edgegpu_energy").values == {conv: 0.003}
    assert store.block_attributes("hw")[conv] == {
        "operator": "ConvBlock", "H": 32, "W": 32, "Cin": 16, "Cout": 16, "exp": 1, "kernel": 3,
        "stride": 1, "group": 1,
    }  # fmt: skip


CELLS = st.builds(Cell, st.floats(0, 1e3), st.none() | st.floats(0, 1e2), st.none() | st.integers(1, 50))


@given(st.lists(CELLS, min_size=1, max_size=6))
def test_pooled_values_are_those_of_all_measurements_together(cells):
    found = pooled(cells)
    assert min(cell.value for cell in cells) - 1e-9 <= found.value <= max(cell.value for cell in cells) + 1e-9
    if len(cells) > 1:
        # Each cell as measurements: n values whose mean and (population) spread are those of the cell.
        drawn = []
        for cell in cells:
            n, spread = 2 * (cell.count or 1), cell.spread or 0.0
            drawn += [cell.value - spread, cell.value + spread] * (n // 2)
        assert found.value == pytest.approx(np.mean(drawn), abs=1e-6)
        assert found.spread == pytest.approx(np.std(drawn), abs=1e-6)


def test_tables_of_blocks_and_of_architectures_are_not_confused(store, tmp_path):
    load(store, tmp_path / "t.yaml", "a: {mean: 1}\n", "ms")
    cell = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    load(store, tmp_path / "a.csv", f"arch_str,pi_ms\n{cell},1\n", name="a", space="nasbench201")
    assert [column.table for column in store.table_columns()] == ["a"]
    assert [column.table for column in store.block_columns()] == ["t"]
    assert store.table_columns("t") == [] == store.block_columns("a")
    with pytest.raises(UsageError, match="table of blocks"):
        store.column_at("table:t/latency")
    with pytest.raises(UsageError, match="table of architectures"):
        store.block_column("a")
    with pytest.raises(UnknownName):
        store.block_column("t", "energy")
    with pytest.raises(UnknownName):
        store.block_column("nothing")
    load(store, tmp_path / "t.yaml", "a: {mean: 1}\n", "ms", name="a")  # a name is taken over, whatever it was
    assert store.table_columns() == [] and store.index_to_architecture("nasbench201") == {}


def test_tables_of_an_older_database_are_of_architectures(tmp_path, monkeypatch):
    (tmp_path / "w").mkdir()
    monkeypatch.setattr("profiler._database.MIGRATIONS", MIGRATIONS[:4])
    old = Database(tmp_path / "w" / "hilnas.db")
    with old.write() as connection:
        connection.execute(
            "INSERT INTO reference_tables VALUES ('t', 'nasbench201', 'f', '0', '', 1, '[\"x\"]', '[3]')"
        )
        connection.execute(
            "INSERT INTO reference_columns VALUES ('t', 0, 'pi', 'time', 'ms', ?, NULL)", (np.array([0.5]).tobytes(),)
        )
    old.close()
    monkeypatch.setattr("profiler._database.MIGRATIONS", MIGRATIONS)
    with Workspace.open(tmp_path / "w") as workspace:
        column = workspace.store.column_at("table:t/pi")
        assert column.values == {"x": 0.5} and column.batch is None and column.kind == "architectures"
        assert workspace.store.index_to_architecture("nasbench201") == {3: "x"}


def test_keys_of_hilnas_say_shapes_and_bits():
    found = hilnas_attributes("nor_conv_3x3/1x16x32x32/1x16x16x16/w32a32")
    assert found == {
        "operator": "nor_conv_3x3", "input": [1, 16, 32, 32], "output": [1, 16, 16, 16], "bits": "w32a32"
    }  # fmt: skip
    assert hilnas_attributes(BLOCK) == {}
