"""What leaves the workspace: tables, measurements, blocks, records without names; and that it reads back."""

import csv
import gzip
import io
import itertools
import json
import re

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices._config import DeviceConfig, FakeOptions
from hilnas.cli import cli
from hilnas.errors import BadFile, Inconclusive, UnknownName, UsageError
from hilnas.records import Environment, MeasurementProtocol, Reading, Run
from profiler import _source_pack
from profiler._anonymous import anonymous_record
from profiler._campaign import measure
from profiler._data_export import device_rows, exported_text, resolved, table_rows
from profiler._import import import_request, import_table
from profiler._plan import architecture_workload, block_entry_s, block_key, block_workloads
from profiler._source_pack import PackRow, write_pack
from profiler._workspace import Workspace
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=4, depth=1, resolution=8)
WORKLOADS = [architecture_workload(SPACE, cell) for cell in SPACE.sample_distinct(6, seed=0)]
CELL = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
SLOW_FIXTURE = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")
    with Workspace.open(tmp_path / "w") as opened:
        yield opened


def fake(**script):
    return DeviceConfig(name="annas_board", kind="fake", fake=FakeOptions(**script))


def record_run(store, device, config, facts, workloads=WORKLOADS, latency_s=0.002):
    """Store a finished campaign of three invocations a workload."""
    protocol = MeasurementProtocol(min_invocations=3, max_invocations=3)
    run_id = store.create_campaign(device, config, "nasbench201", protocol, 0, workloads)
    environment = Environment(facts)
    store.set_state(run_id, "finished", environment)
    for n in range(3):
        for i, workload in enumerate(workloads):
            run = Run(workload, "ok", (Reading("latency_s", (latency_s * (1 + i) * (1 + n / 1000),) * 9),))
            store.add_run(
                run_id, run, sequence=n * len(workloads) + i, attempt=1, role="workload", artifact=None,
                environment=environment.key, elapsed_s=0.1,
            )  # fmt: skip
    return run_id


def import_text(store, path, text, *units, name="t", space="nasbench201"):
    path.write_text(text)
    return import_table(store, import_request(path, name, space, units))


# ---- tables


def test_an_exported_column_names_the_unit_of_its_values(workspace, tmp_path):
    text = f"index,arch_str,pi_ms,joule_uj,raspi4,pi_us,acc,note\n3,{CELL},12.5,4,2,7,91,hot\n"
    import_text(workspace.store, tmp_path / "t.csv", text, "raspi4=ms", "acc=percent")
    (row,) = table_rows(workspace.store, "t")
    assert row == {
        "architecture": f"nasbench201:{CELL}", "index": 3, "pi_s": 0.0125, "joule_j": pytest.approx(4e-6),
        "raspi4_s": 0.002, "pi_us_s": pytest.approx(7e-6), "acc": 91.0, "note": "hot",
    }  # fmt: skip
    exported = exported_text(workspace.store, resolved(workspace.store, "table:t"), "csv")
    import_text(workspace.store, tmp_path / "again.csv", exported, "acc=percent", name="again")
    for before, after in (("pi_ms", "pi_s"), ("raspi4", "raspi4_s"), ("acc", "acc"), ("pi_us", "pi_us_s")):
        old, new = workspace.store.table_column("t", before), workspace.store.table_column("again", after)
        assert new.values == pytest.approx(old.values) and new.dimension == old.dimension
    assert workspace.store.index_to_architecture("nasbench201") == {3: f"nasbench201:{CELL}"}


@SLOW_FIXTURE
@given(st.lists(st.tuples(st.integers(0, 15624), st.none() | st.floats(0, 1e6)), min_size=1, unique_by=lambda r: r[0]))
def test_json_lines_say_null_for_what_is_missing(workspace, tmp_path, rows):
    cells = list(NasBench201().enumerate())
    if all(value is None for _, value in rows):
        return
    lines = [f"{cells[i].text},{'' if value is None else repr(value)}" for i, value in rows]
    import_text(workspace.store, tmp_path / "t.csv", "arch_str,t_s\n" + "\n".join(lines) + "\n")
    text = exported_text(workspace.store, resolved(workspace.store, "t"), "jsonl")
    found = [json.loads(line) for line in text.splitlines()]
    assert found == [{"architecture": cells[i].text, "t_s": value} for i, value in rows]


def test_a_table_of_blocks_goes_out_with_what_its_keys_say(workspace, tmp_path):
    key = "Logits-input:7x7x1280-output:1000"
    (tmp_path / "b.yaml").write_text(f"{key}: {{count: 9, mean: 2, var: 4}}\n")
    import_table(workspace.store, import_request(tmp_path / "b.yaml", "b", units=["ms"]))
    text = exported_text(workspace.store, resolved(workspace.store, "b"), "csv")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["block"] == key and json.loads(row["attributes"])["operator"] == "Logits"
    assert (float(row["latency_s"]), float(row["latency_sd_s"]), row["latency_count"]) == (0.002, 0.002, "9")
    lines = exported_text(workspace.store, resolved(workspace.store, "b"), "jsonl")
    assert json.loads(lines)["attributes"]["output"] == [1000]
    with pytest.raises(UsageError, match="table of architectures"):
        import_text(workspace.store, tmp_path / "t.csv", f"arch_str,pi_ms\n{CELL},1\n")
        exported_text(workspace.store, resolved(workspace.store, "t"), "ofa_yaml")


def test_names_of_tables_and_devices_are_told_apart(workspace, tmp_path):
    import_text(workspace.store, tmp_path / "t.csv", f"arch_str,pi_ms\n{CELL},1\n", name="both")
    record_run(workspace.store, "both", {"kind": "fake"}, {"kind": "fake"})
    with pytest.raises(UsageError, match="a table and a device"):
        resolved(workspace.store, "both")
    assert resolved(workspace.store, "table:both").kind == "table"
    assert resolved(workspace.store, "device:both").kind == "device"
    for text in ("neither", "table:neither", "device:neither"):
        with pytest.raises(UnknownName):
            resolved(workspace.store, text)


# ---- measurements of a device


def test_measurements_of_a_device_go_out_over_all_its_campaigns(workspace):
    measure(workspace, fake(), WORKLOADS[:2])
    measure(workspace, fake(), WORKLOADS[2:])
    rows = device_rows(workspace.store, "annas_board")
    assert {row["architecture"] for row in rows} == {workload.subject for workload in WORKLOADS}
    text = exported_text(workspace.store, resolved(workspace.store, "annas_board"), "csv")
    assert len(list(csv.DictReader(io.StringIO(text)))) == len(WORKLOADS)


def test_blocks_of_a_device_go_out_as_once_for_all_reads_them(workspace, tmp_path):
    blocks = block_workloads(SPACE)[:5]
    measure(workspace, fake(), blocks)
    text = exported_text(workspace.store, resolved(workspace.store, "annas_board"), "ofa_yaml")
    measured = {block_key(item.workload): item for item in workspace.store.measurements("annas_board", kind="block")}
    found = yaml.safe_load(text)
    assert set(found) == set(measured) and len(found) == 5
    for key, entry in found.items():
        assert entry["mean"] == pytest.approx(block_entry_s(measured[key]) * 1e3)
        assert entry["count"] == measured[key].invocations and entry["var"] >= 0
    (tmp_path / "blocks.yaml").write_text(text)
    import_table(workspace.store, import_request(tmp_path / "blocks.yaml", "back"))
    entries = workspace.store.block_column("back").values
    assert entries == pytest.approx({key: block_entry_s(item) for key, item in measured.items()})


def test_nothing_to_export_is_said(workspace):
    record_run(workspace.store, "b", {"kind": "fake"}, {"kind": "fake"})
    with pytest.raises(Inconclusive, match="no blocks") as caught:
        exported_text(workspace.store, resolved(workspace.store, "b"), "ofa_yaml")
    assert "--blocks" in caught.value.remedy
    with pytest.raises(Inconclusive):
        anonymous_record(workspace.store, "b", blocks=True)


# ---- records without names

SECRETS = (
    "/home/anna/venv/lib", "~/models", "anna@lab7", "192.168.7.31", "b8:27:eb:12:34:56", "2026-11-21", "13:45:02",
    "GPU-6f1c1c0a-8a5e-4bb1-9b3c-0d5f3f0b2a11", "deadbeefdeadbeefdeadbeef", "C:\\Users\\anna", "x" * 200, "a\nb",
)  # fmt: skip
FACTS = {
    "host": {
        "machine": "aarch64", "bits": 64, "system": "Linux", "python": "3.11.2", "libc": ["glibc", "2.36"],
        "cpu_model": "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "cpus": 4, "usable_cpus": 4, "virtual": False,
        "hostname": "lab7", "user": "anna",
    },
    "runtime": {"name": "openvino", "version": "10.4.1.26", "path": "/opt/intel"},
    "options": {"threads": 2, "precision": "fp32", "device": "GPU-6f1c1c0a-8a5e-4bb1-9b3c-0d5f3f0b2a11"},
    "state": {
        "board": {"model": "Raspberry Pi 5 Model B Rev 1.0", "cpu_parts": ["0xd0b"], "serial_hash": "0123456789abcdef"},
        "nvml": {"name": "NVIDIA A2", "driver": "550.54.15", "uuid": "GPU-6f1c", "power_limit_w": 60.0},
        "cpu_clock": {"governors": ["ondemand"], "limits_hz": [[6e8, 2.4e9]]},
    },
}  # fmt: skip
CONFIG = {
    "kind": "ssh_linux", "name": "annas_board", "description": "Anna's board in room 7", "backend": "openvino",
    "ssh": {"host": "lab7.example", "user": "anna", "identity": "~/.ssh/id"}, "power": {"governor": "performance"},
    "meter": {"argv": ["/home/anna/meter"]},
}  # fmt: skip
NUMBERS = itertools.count()
WORDS = ("anna", "lab7", "room", "meter", "serial", "uuid", "GPU-", "opt/intel", "id_", "example")


def test_a_record_says_what_is_needed_to_merge_and_nothing_of_whose_it_is(workspace):
    run_id = record_run(workspace.store, "annas_board", CONFIG, FACTS)
    record = anonymous_record(workspace.store, "annas_board")
    text = json.dumps(record)
    assert not [word for word in WORDS if word.lower() in text.lower()]
    assert run_id not in text and not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", text)
    device = record["device"]
    assert device["host"]["cpu_model"] == FACTS["host"]["cpu_model"] and device["host"]["cpus"] == 4
    assert device["runtime"] == {"name": "openvino", "version": "10.4.1"}
    assert device["options"] == {"threads": 2, "precision": "fp32"} and device["power"] == {"governor": "performance"}
    assert device["state"]["board"] == {"model": "Raspberry Pi 5 Model B Rev 1.0", "cpu_parts": ["0xd0b"]}
    assert device["state"]["nvml"] == {"name": "NVIDIA A2", "driver": "550.54.15", "power_limit_w": 60.0}
    assert record["space_options"] == dict(SPACE.options) and record["protocols"][0]["min_invocations"] == 3
    assert [row["key"] for row in record["measurements"]] == sorted(workload.subject for workload in WORKLOADS)


@st.composite
def spoiled(draw, value):
    """Return facts some of whose texts have a secret in them, at listed places as well as at others."""
    if isinstance(value, dict):
        found = {key: draw(spoiled(item)) for key, item in value.items()}
        return {**found, draw(st.sampled_from(["hostname", "note", "user"])): draw(st.sampled_from(SECRETS))}
    if isinstance(value, list):
        return [draw(spoiled(item)) for item in value]
    if isinstance(value, str) and draw(st.booleans()):
        return draw(st.sampled_from(["", "model "])) + draw(st.sampled_from(SECRETS))
    return value


@SLOW_FIXTURE
@given(facts=spoiled(FACTS), config=spoiled(CONFIG))
def test_no_secret_leaves_wherever_it_stands(workspace, facts, config):
    device = f"d{next(NUMBERS)}"
    record_run(workspace.store, device, {**config, "kind": "ssh_linux"}, facts, WORKLOADS[:1])
    text = json.dumps(anonymous_record(workspace.store, device))
    assert not [secret for secret in SECRETS if json.dumps(secret)[1:-1] in text]


def test_a_record_reads_back_with_intervals_and_provenance(workspace, tmp_path):
    record_run(workspace.store, "annas_board", CONFIG, FACTS)
    record = anonymous_record(workspace.store, "annas_board")
    (tmp_path / "mine.json").write_text(json.dumps(record, indent=1))
    table = import_table(workspace.store, import_request(tmp_path / "mine.json", "theirs"))
    column = workspace.store.table_column("theirs", "latency_s")
    measured = {item.workload.subject: item for item in workspace.store.measurements("annas_board")}
    assert column.values == {text: item.latency_s for text, item in measured.items()}
    assert column.counts == {text: item.invocations for text, item in measured.items()}
    halves = {text: (item.upper_s - item.lower_s) / 2 for text, item in measured.items()}
    assert column.spreads == pytest.approx(halves) and column.spread_kind == "half_width"
    assert (table.space, column.batch, column.unit) == ("nasbench201", 1, "s")
    assert workspace.store.provenance("theirs")["device"]["runtime"]["name"] == "openvino"


def test_blocks_of_a_record_read_back_as_a_table_of_blocks(workspace, tmp_path):
    measure(workspace, fake(), block_workloads(SPACE)[:4])
    record = anonymous_record(workspace.store, "annas_board", blocks=True)
    assert "annas" not in json.dumps(record)
    (tmp_path / "blocks.json").write_text(json.dumps(record))
    import_table(workspace.store, import_request(tmp_path / "blocks.json", "theirs"))
    expected = {
        block_key(item.workload): block_entry_s(item)
        for item in workspace.store.measurements("annas_board", kind="block")
    }
    assert workspace.store.block_column("theirs").values == pytest.approx(expected)


def test_several_spaces_and_options_are_not_mixed(workspace):
    record_run(workspace.store, "b", CONFIG, FACTS, WORKLOADS)
    other = NasBench201(width=8, depth=1, resolution=8)
    record_run(workspace.store, "b", CONFIG, FACTS, [architecture_workload(other, other.parse(CELL))])
    record = anonymous_record(workspace.store, "b", "nasbench201")
    assert record["left_out"] == {"other_options": 1} and len(record["measurements"]) == len(WORKLOADS)
    with pytest.raises(UsageError, match="nothing of 'fbnet'"):
        anonymous_record(workspace.store, "b", "fbnet")
    record_run(workspace.store, "c", {**CONFIG, "kind": "replay"}, FACTS)
    with pytest.raises(UsageError, match="replays"):
        anonymous_record(workspace.store, "c")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"format": "other"}, "no record"),
        ({"schema_version": 2}, "schema 2"),
        ({"kind": "models"}, "of which space"),
        ({"space": 5}, "of which space"),
        ({"measurements": []}, "no measurements"),
        ({"measurements": [{"key": 5}]}, "no measurements"),
        ({"measurements": [{"key": "x"}]}, "row 0"),
        ({"measurements": [{"key": CELL}]}, "no number"),
        ({"measurements": [{"key": CELL, "latency_s": -1}]}, "no latency"),
        ({"measurements": [{"key": CELL, "latency_s": 1, "lower_s": 2, "upper_s": 1}]}, "no latency"),
        ({"measurements": [{"key": CELL, "latency_s": 1, "invocations": 1.5}]}, "no latency"),
        ({"measurements": [{"key": CELL, "latency_s": 1, "metrics": {"x": {"value": 1}}}]}, "unknown metric"),
        ({"measurements": [{"key": CELL, "latency_s": 1, "metrics": {"energy_j": 5}}]}, "no value"),
        ({"measurements": [{"key": CELL, "latency_s": 1}] * 2}, "twice"),
        ({"protocols": ["x" * 70_000]}, "64 KiB"),
    ],
)
def test_a_record_that_was_changed_is_refused(workspace, tmp_path, change, word):
    record_run(workspace.store, "annas_board", CONFIG, FACTS, WORKLOADS[:1])
    record = anonymous_record(workspace.store, "annas_board") | {"note": '"hilnas-measurements"'} | change
    (tmp_path / "mine.json").write_text(json.dumps(record))
    with pytest.raises(BadFile) as caught:
        import_table(workspace.store, import_request(tmp_path / "mine.json", "theirs"), "hilnas_export")
    assert word in str(caught.value) and caught.value.remedy


# ---- source packs


@pytest.fixture
def pack(tmp_path):
    rows = [PackRow(f"nasbench201:{CELL}", 1e-3, 1e-5, 5)]
    other = [PackRow(WORKLOADS[1].subject, 2e-3, None, 7), *rows]
    provenance = {
        "devices": [{"name": "ort_1t"}, {"name": "ncnn"}],
        "space": "nasbench201",
        "input_shape": [4, 3, 8, 8],
    }
    write_pack(tmp_path / "packs" / "mine", {**provenance, "architectures": 2}, {"ort_1t": rows, "ncnn": other})
    return tmp_path / "packs" / "mine"


def test_a_pack_is_imported_as_a_whole(workspace, pack, monkeypatch):
    import_table(workspace.store, import_request(pack, "p"))
    column = workspace.store.table_column("p", "ncnn")
    assert column.values == {f"nasbench201:{CELL}": 1e-3, WORKLOADS[1].subject: 2e-3}
    assert column.spreads == {f"nasbench201:{CELL}": 1e-5} and column.counts[WORKLOADS[1].subject] == 7
    assert (column.batch, column.unit, column.n_missing) == (4, "s", 0)
    assert workspace.store.table_column("p", "ort_1t").n_missing == 1
    assert workspace.store.provenance("p")["space"] == "nasbench201"
    monkeypatch.setattr(_source_pack, "_shipped", lambda: pack.parent)
    import_table(workspace.store, import_request("source_pack:mine"))
    assert workspace.store.table_column("mine", "ncnn").values == column.values
    with pytest.raises(UsageError, match="not of fbnet"):
        import_table(workspace.store, import_request(pack, "p", "fbnet"))


def test_a_pack_with_a_bomb_or_a_foreign_path_is_refused(workspace, pack, monkeypatch):
    (pack / "ncnn.csv.gz").write_bytes(gzip.compress(bytes(1 << 24)) * 8)
    with pytest.raises(BadFile, match="MiB"):
        import_table(workspace.store, import_request(pack, "p"))
    (pack / "pack.json").write_text(json.dumps({"devices": [{"name": "../../../etc/passwd"}]}))
    with pytest.raises(BadFile, match="no plain name"):
        import_table(workspace.store, import_request(pack, "p"))
    (pack / "pack.json").write_text("[" * 10_000)
    with pytest.raises(BadFile, match="deep"):
        import_table(workspace.store, import_request(pack, "p"))


# ---- the command line


def run(workspace_path, *arguments):
    return CliRunner().invoke(cli, ["--workspace", str(workspace_path), "data", *arguments])


def test_the_commands_say_what_they_did(tmp_path, pack, monkeypatch):
    monkeypatch.setattr(_source_pack, "_shipped", lambda: pack.parent)
    where = tmp_path / "w"
    listed = json.loads(run(where, "list", "--json").output)
    assert listed["columns"] == [] and listed["source_packs"] == [
        {"source_pack": "source_pack:mine", "space": "nasbench201", "architectures": 2, "devices": ["ort_1t", "ncnn"]}
    ]
    imported = json.loads(run(where, "import", "source_pack:mine", "--json").output)
    assert imported["table"] == "mine" and [column["batch"] for column in imported["columns"]] == [4, 4]
    (tmp_path / "odd.txt").write_text("a: {mean: 1}\n")
    assert isinstance(run(where, "import", str(tmp_path / "odd.txt"), "--as", "b").exception, BadFile)
    arguments = ("import", str(tmp_path / "odd.txt"), "--as", "b", "--unit", "ms", "--format", "ofa_yaml", "--json")
    assert json.loads(run(where, *arguments).output)["rows"] == "blocks"
    assert "table:b/latency" in run(where, "list").output and "source_pack:mine" in run(where, "list").output
    assert yaml.safe_load(run(where, "export", "b", "--format", "ofa_yaml").output) == {"a": {"mean": 1.0}}
    exported = json.loads(run(where, "export", "mine", "--json").output)
    assert exported["columns"][:2] == ["architecture", "ort_1t"] and exported["provenance"]["space"] == "nasbench201"
    assert isinstance(run(where, "export", "mine", "--anonymous").exception, UsageError)
    assert isinstance(run(where, "export", "mine", "--blocks").exception, UsageError)
    assert isinstance(run(where, "import", str(tmp_path / "odd.txt"), "--format", "ofa").exception, UsageError)
