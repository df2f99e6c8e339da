"""Reference tables: what is accepted, what is refused, and that numbers arrive in SI."""

import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilnas.errors import BadFile, UnknownName, UsageError
from profiler._import import import_request, import_table
from profiler._workspace import Workspace
from search_spaces.nasbench201 import NasBench201

A = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
B = "|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"


@pytest.fixture
def store(tmp_path):
    with Workspace.open(tmp_path / "w") as opened:
        yield opened.store


def load(store, tmp_path, text, *units, name="t", space="nasbench201"):
    path = tmp_path / "table.csv"
    path.write_text(text)
    import_table(store, import_request(path, name, space, units))


def test_units_come_from_names_and_from_the_user(store, tmp_path):
    text = f"index,arch_str,pi_ms,watt_mj,acc,note\n7,{A},12.5,3,91.5,hot\n8,{B},,4,90,cold\n"
    load(store, tmp_path, text, "percent")
    assert store.table_column("t", "pi_ms").values == {f"nasbench201:{A}": 0.0125}
    assert store.table_column("t", "pi_ms").n_missing == 1
    assert store.table_column("t", "watt_mj").dimension == "energy"
    assert store.table_column("t", "acc").values[f"nasbench201:{B}"] == 90.0
    assert [column.name for column in store.table_columns("t")] == ["pi_ms", "watt_mj", "acc"]
    assert store.column_at("table:t/acc").dimension == "percent"
    header, rows = store.table_rows("t")
    assert header == ["architecture", "index", "pi_ms", "watt_mj", "acc", "note"] and rows[1]["pi_ms"] == ""


def test_a_unit_can_be_said_for_one_column(store, tmp_path):
    load(store, tmp_path, f"arch_str,pi,score\n{A},12,3\n", "pi=ms", "none")
    assert store.table_column("t", "pi").values == {f"nasbench201:{A}": 0.012}
    assert store.table_column("t", "score").dimension == "none"


def test_a_column_without_a_unit_is_refused_until_it_is_named(store, tmp_path):
    with pytest.raises(UsageError) as caught:
        load(store, tmp_path, f"arch_str,samsung_s7\n{A},12\n")
    assert "samsung_s7" in caught.value.what and "--unit samsung_s7=" in caught.value.remedy
    assert store.table_names() == []


def test_an_index_is_resolved_through_another_table(store, tmp_path):
    index_only = "index,acc\n8,90\n7,91\n"
    with pytest.raises(BadFile, match="index alone"):
        load(store, tmp_path, index_only, "percent", name="val")
    load(store, tmp_path, f"index,arch_str,pi_ms\n7,{A},1\n8,{B},2\n")
    load(store, tmp_path, index_only, "percent", name="val")
    assert store.table_column("val", "acc").values == {f"nasbench201:{A}": 91.0, f"nasbench201:{B}": 90.0}


def test_gzip_and_byte_order_marks_are_read(store, tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(f"\ufeffarch_str,pi_ms\n{A},1\n".encode()))
    import_table(store, import_request(path, "t", "nasbench201", ()))
    assert len(store.table_column("t", "pi_ms").values) == 1


def test_fbnet_rows_are_named_by_their_operations(store, tmp_path):
    header = "index," + ",".join(f"op_{layer:02d}" for layer in range(1, 23)) + ",pi_ms\n"
    rows = [["k3_e1"] + ["skip"] * 21, ["skip"] * 22]
    text = header + "".join(f"{i},{','.join(row)},{i + 1}\n" for i, row in enumerate(rows))
    load(store, tmp_path, text, space="fbnet")
    expected = {"fbnet:" + "|".join(row): (i + 1) / 1000 for i, row in enumerate(rows)}
    assert store.table_column("t", "pi_ms").values == pytest.approx(expected)
    with pytest.raises(BadFile, match="row 3"):
        load(store, tmp_path, text.replace("\n1,skip", "\n1,k9_e1"), space="fbnet")


def test_a_table_is_replaced_by_one_of_the_same_name(store, tmp_path):
    for value in (1, 2):
        load(store, tmp_path, f"arch_str,pi_ms\n{A},{value}\n")
    assert store.table_column("t", "pi_ms").values == {f"nasbench201:{A}": 0.002}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no rows"),
        ("arch_str,pi_ms\n", "no rows"),
        (f"pi_ms,other\n{A},1\n", "does not name its architectures"),
        (f"arch_str,arch_str\n{A},{A}\n", "twice"),
        (f"arch_str,pi_ms\n{A},1,2\n", "row 2"),
        (f"arch_str,pi_ms\n{A},nan\n{B},1\n", "row 2"),
        (f"arch_str,pi_ms\n{A},1\n{B},inf\n", "row 3"),
        (f"arch_str,pi_ms\n{A},-1\n", "negative"),
        (f"arch_str,pi_ms\n{A},1e400\n", "too large"),
        (f"arch_str,pi_ms\n{A},1\n{A},2\n", "twice"),
        ("arch_str,pi_ms\n|conv~0|,1\n", "row 2"),
        (f"arch_str,note\n{A},hot\n", "no numeric column"),
        (f"index,arch_str,pi_ms\n-3,{A},1\n", "index"),
        (f"index,arch_str,pi_ms\nx,{A},1\n", "index"),
        (f'arch_str,pi_ms\n"{A},1\n', "CSV"),
    ],
)
def test_a_broken_table_is_refused_and_the_old_one_kept(store, tmp_path, text, word):
    load(store, tmp_path, f"arch_str,pi_ms\n{A},5\n")
    with pytest.raises(BadFile) as caught:
        load(store, tmp_path, text)
    assert word in str(caught.value)
    assert store.table_column("t", "pi_ms").values == {f"nasbench201:{A}": 0.005}


def test_other_misuse_is_said(store, tmp_path):
    good = f"arch_str,pi_ms\n{A},5\n"
    with pytest.raises(UnknownName):
        load(store, tmp_path, good, space="nasbench202")
    with pytest.raises(UnknownName):
        load(store, tmp_path, f"arch_str,pi\n{A},5\n", "parsec")
    with pytest.raises(UsageError):
        load(store, tmp_path, good, "ms", "s")
    with pytest.raises(UsageError):
        load(store, tmp_path, good, "nix=ms")
    with pytest.raises(UsageError):
        load(store, tmp_path, good, name="../evil")
    for path in (tmp_path / "missing.csv", tmp_path / "table.xlsx"):
        with pytest.raises(BadFile):
            import_table(store, import_request(path, "t", "nasbench201", ()))
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(good.encode())[:-9])
    with pytest.raises(BadFile, match="damaged"):
        import_table(store, import_request(tmp_path / "torn.csv.gz", "t", "nasbench201", ()))
    load(store, tmp_path, good)
    with pytest.raises(UnknownName):
        store.table_column("t", "po_ms")
    with pytest.raises(UnknownName):
        store.table_column("u", "pi_ms")
    with pytest.raises(UsageError):
        store.column_at("t/pi_ms")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 15624), st.none() | st.floats(0, 1e6)), min_size=1, unique_by=lambda r: r[0]))
def test_every_finite_number_survives_import_and_export(store, tmp_path, rows):
    cells = list(NasBench201().enumerate())
    lines = [f"{cells[i].text},{'' if value is None else repr(value)}" for i, value in rows]
    if all(value is None for _, value in rows):
        return
    load(store, tmp_path, "arch_str,t_s\n" + "\n".join(lines) + "\n")
    expected = {cells[i].text: value for i, value in rows if value is not None}
    assert store.table_column("t", "t_s").values == expected


def test_the_reference_tables_are_read(store, reference_data):
    for file, name, unit in (
        ("nb201_accuracy.csv.gz", "acc", "percent"),
        ("nb201_val_accuracy.csv.gz", "val", "percent"),
        ("nb201_hwnasbench_cifar10.csv.gz", "hw", "none"),
    ):
        import_table(store, import_request(reference_data / file, name, "nasbench201", (unit,)))
    assert len(store.table_column("val", "cifar10_val").values) == 15_625
    column = store.table_column("hw", "cifar10_edgetpu_latency_ms")
    assert (column.dimension, column.n_missing) == ("time", 4_699)
    assert max(store.table_column("acc", "cifar10").values.values()) == pytest.approx(94.37, abs=0.01)
