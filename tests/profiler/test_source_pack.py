"""Source packs: what is written reads back, what is damaged is refused, measuring one goes on where it stopped."""

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.errors import BadFile, HilnasError, UnknownName
from hilnas.records import MeasurementProtocol
from profiler import _pack_campaigns
from profiler._pack_campaigns import SOURCES, Source, measure_source, write_measured
from profiler._plan import load_space, sample_workloads
from profiler._source_pack import (
    PackRow,
    SourcePack,
    agreements,
    load_pack,
    read_pack,
    shipped_packs,
    write_pack,
)
from profiler._workspace import Workspace

QUICK = replace(
    MeasurementProtocol(),
    min_invocations=1,
    max_invocations=1,
    min_warmup_s=0.01,
    min_measure_s=0.02,
    max_measure_s=0.05,
    sentinel_every=0,
    reject_half_width=10.0,
)
ROWS = st.builds(
    PackRow,
    st.text("abc|~+0123_", min_size=1, max_size=12),
    st.floats(1e-7, 1e3).map(lambda value: float(f"{value:.7g}")),
    st.none() | st.floats(0, 10).map(lambda value: float(f"{value:.4g}")),
    st.integers(1, 100),
)
TABLES = st.dictionaries(
    st.sampled_from(["ort_1t", "ncnn", "torch_eager"]),
    st.lists(ROWS, max_size=6, unique_by=lambda row: row.architecture),
    min_size=1,
)


@given(tables=TABLES)
def test_a_pack_reads_back_and_has_the_same_bytes_every_time(tables, tmp_path_factory):
    provenance = {"devices": [{"name": name} for name in tables], "machine": {"cpu": "x"}}
    first, second = tmp_path_factory.mktemp("a") / "p", tmp_path_factory.mktemp("b") / "p"
    pack = write_pack(first, provenance, tables)
    write_pack(second, provenance, {name: reversed(rows) for name, rows in tables.items()})
    assert pack.provenance["machine"] == {"cpu": "x"}
    for name, rows in tables.items():
        assert pack.tables[name] == tuple(sorted(rows, key=lambda row: row.architecture))
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (first, second)]
    assert files[0] == files[1]


@pytest.fixture
def folder(tmp_path):
    write_pack(tmp_path / "p", {"devices": [{"name": "a"}]}, {"a": [PackRow("x", 1e-3, None, 5)]})
    return tmp_path / "p"


HEADER = "arch_str,latency_s,half_width_s,invocations\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "a,b\n",
        HEADER + "x,1e-3\n",
        HEADER + "x,-1,0,5\n",
        HEADER + "x,nan,0,5\n",
        HEADER + "x,1,inf,5\n",
        HEADER + "x,1,0,five\n",
    ],
)
def test_a_damaged_table_is_refused(folder, text):
    (folder / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(BadFile, match="damaged"):
        read_pack(folder)


@pytest.mark.parametrize("data", [b"no gzip", gzip.compress(b"x" * 1000)[:-9]])
def test_a_table_that_is_no_gzip_is_refused(folder, data):
    (folder / "a.csv.gz").write_bytes(data)
    with pytest.raises(BadFile):
        read_pack(folder)


def test_a_missing_table_and_a_strange_description_are_refused(folder):
    (folder / "a.csv.gz").unlink()
    with pytest.raises(BadFile, match="cannot be read"):
        read_pack(folder)
    (folder / "pack.json").write_text("[]")
    with pytest.raises(BadFile, match="damaged"):
        read_pack(folder)


def test_unknown_names_are_named(folder):
    with pytest.raises(UnknownName):
        load_pack("no_such_pack")
    with pytest.raises(UnknownName):
        read_pack(folder).latencies("b")


def pack_of(**columns):
    tables = {
        name: tuple(PackRow(f"n{i}", value, None, 5) for i, value in enumerate(values) if value)
        for name, values in columns.items()
    }
    return SourcePack("p", {}, tables)


def test_ranks_agree_over_what_both_have():
    found = agreements(
        pack_of(a=[1, 2, 3, 4, 5], b=[10, 20, 30, 40, 50], c=[5, 4, 3, None, None], d=[1, None, None, 1, 1])
    )
    found += agreements(pack_of(a=[1, 2, 3], same=[7, 7, 7]))
    by_pair = {(item.first, item.second): item for item in found}
    assert by_pair["a", "b"].spearman == pytest.approx(1.0) and by_pair["a", "b"].n == 5
    assert by_pair["a", "c"].spearman == pytest.approx(-1.0) and by_pair["a", "c"].n == 3
    assert ("c", "d") not in by_pair, "one architecture in common says nothing"
    assert ("a", "same") not in by_pair


def test_measuring_writes_tables_with_provenance_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")
    monkeypatch.setattr("devices._runs.doubt", lambda *_: None)  # other tests may run beside this one
    workloads = sample_workloads(load_space("nasbench201"), 3, 0)
    sources = [
        Source("ort_1t", "onnxruntime"),
        Source("two", "onnxruntime", {"threads": 2}, n=2),
        Source("gone", "gone"),
    ]
    with Workspace.open(tmp_path / "w") as workspace:
        measured = [measure_source(workspace, item, workloads, QUICK, 0, lambda *_: None) for item in sources]
        again = measure_source(workspace, sources[0], workloads, QUICK, 0, lambda *_: None)
        other = measure_source(workspace, sources[0], workloads, QUICK, 1, lambda *_: None)
        slower = replace(QUICK, max_warmup_s=2 * QUICK.max_warmup_s)
        finished = measure_source(workspace, sources[0], workloads, slower, 0, lambda *_: None)
        workspace.store.set_state(measured[0].result.run_id, "interrupted")
        anew = measure_source(workspace, sources[0], workloads, slower, 0, lambda *_: None)
        pack = write_measured(tmp_path / "pack", workspace, [anew, *measured[1:]], workloads, 0)
    assert again.result.run_id == measured[0].result.run_id != other.result.run_id
    assert finished.result.run_id == measured[0].result.run_id, "what is finished counts whatever its protocol"
    assert anew.result.run_id not in (measured[0].result.run_id, other.result.run_id)
    protocols = [device["protocol"]["max_warmup_s"] for device in pack.provenance["devices"]]
    assert protocols == [slower.max_warmup_s, QUICK.max_warmup_s]
    assert measured[2].result is None and "gone" in measured[2].problem
    assert len(pack.tables["ort_1t"]) == 3 and len(pack.tables["two"]) == 2
    assert all(0 < row.latency_s < 1 and row.half_width_s is None for row in pack.tables["ort_1t"])
    said = pack.provenance
    assert said["machine"]["cpus"] >= 1 and said["seed"] == 0 and "gone" in said["left_out"]
    assert [device["options"]["threads"] for device in said["devices"]] == [1, 2]
    assert {device["runtime"]["name"] for device in said["devices"]} == {"onnxruntime"}
    json.dumps(dict(said), allow_nan=False)


def test_a_pack_of_nothing_is_an_error(tmp_path):
    workloads = sample_workloads(load_space("nasbench201"), 1, 0)
    measured = [_pack_campaigns.Measured(SOURCES[0], None, "no runtime")]
    with Workspace.open(tmp_path / "w") as workspace, pytest.raises(HilnasError, match="nothing was measured"):
        write_measured(tmp_path / "pack", workspace, measured, workloads, 0)


def test_the_sources_are_at_least_six_different_devices():
    configs = [source.config() for source in SOURCES]
    assert len({(config.backend, config.options) for config in configs}) == len(SOURCES) >= 6
    assert len({config.backend for config in configs}) >= 5


@pytest.mark.parametrize("name", shipped_packs())
def test_a_pack_that_ships_says_what_and_how_it_was_measured(name):
    pack = load_pack(name)
    space = load_space(pack.provenance["space"], pack.provenance["space_options"])
    usual = {source.name: source.protocol(_pack_campaigns.PROTOCOL) for source in _pack_campaigns.SOURCES}
    for device in pack.provenance["devices"]:
        rows = pack.tables[device["name"]]
        assert len(rows) == device["architectures"] > 0
        assert all(space.parse(row.architecture).text == row.architecture for row in rows)
        assert device["runtime"]["version"] and device["options"]["threads"] >= 1
        assert device["protocol"]["max_drift"] == usual[device["name"]].max_drift
        assert usual[device["name"]].max_drift == 0.05 or device["backend"] == "torch_compile"
    pairs = {(device["runtime"]["name"], device["options"]["threads"]) for device in pack.provenance["devices"]}
    assert len(pairs) >= 6, "runtimes and threads that differ"
    assert pack.provenance["machine"]["cpu_model"]
    assert all(math.isfinite(item.spearman) for item in agreements(pack))
    size = sum(
        path.stat().st_size for path in (Path(_pack_campaigns.__file__).parent / "source_packs" / name).iterdir()
    )
    assert size < 300_000
