"""The contract of an importer, over every one that is found: a table, or an error that says why."""

import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilnas import plugins
from hilnas.errors import HilnasError, UsageError
from profiler.importers._base import Importer, ImportRequest

NAMES = plugins.names("profiler.importers")
#: A file name that each format of one file would accept; folders are made of the same bytes.
ENDINGS = {
    "csv_table": ["f.csv"],
    "hwnasbench_pickle": ["f.pickle"],
    "analognasbench": ["data.anb", "f.csv"],
    "ofa_yaml": ["f.yaml"],
    "fbnet_jsonl": ["f.jsonl"],
    "nnmeter_json": ["f.json"],
    "hilnas_export": ["f.json"],
    "help_folder": ["latency/d.pt"],
    "source_pack": ["pack.json"],
}
STARTS = [
    b"", b"{", b'{"a": {"b": ', b'{"op_type": ', b'{"format": "hilnas-measurements", "schema_version": 1, ', b"a: ",
    b"arch_str,a_ms\n", b"architecture,baseline_accuracy\n", b"\x80\x04}", b"\x80\x02]q\x00(", b"PK\x03\x04",
    b'{"devices": [{"name": "', b"\xff\xfe", b"\x1f\x8b",
]  # fmt: skip


def importer(name):
    return plugins.load("profiler.importers", name, Importer)()


@pytest.mark.parametrize("name", NAMES)
def test_an_importer_says_its_format_and_declines_what_is_not_there(name, tmp_path):
    assert 10 < len(importer(name).format) < 100 and "\n" not in importer(name).format
    assert not importer(name).accepts(tmp_path / "nothing.txt")
    assert not importer(name).accepts(tmp_path)
    (tmp_path / "nothing.txt").write_bytes(b"hello")
    assert not importer(name).accepts(tmp_path / "nothing.txt")


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_a_clear_error(name, tmp_path):
    with pytest.raises(UsageError) as caught:
        importer(name).read(ImportRequest(tmp_path / "gone", "t", "nasbench201"), {})
    assert str(tmp_path) in caught.value.what


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_whatever_a_file_holds_the_answer_is_a_table_or_an_error_for_the_user(name, tmp_path, data):
    """A format that a third party adds is tried with the name of a CSV."""
    content = data.draw(st.sampled_from(STARTS)) + data.draw(
        st.binary(max_size=40) | st.text(max_size=40).map(str.encode)
    )
    ending = data.draw(st.sampled_from(ENDINGS.get(name, ["f.csv"])))
    path = tmp_path / ending
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(content))
    given_path = tmp_path if name in ("help_folder", "source_pack") else path
    request = ImportRequest(given_path, "t", data.draw(st.sampled_from(["nasbench201", "fbnet"])), unit="ms")
    importer(name).accepts(given_path)
    try:
        table = importer(name).read(request, {0: "nasbench201:|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"})
    except HilnasError as error:
        assert isinstance(error, UsageError) and len(str(error)) < 2000
    else:
        assert table.keys and table.columns
        assert all(len(column.values) == len(table.keys) for column in table.columns if column.texts is None)
