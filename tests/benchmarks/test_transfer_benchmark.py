"""The benchmark of transfer: its averages, its tasks, and a run on small made-up tables."""

import gzip
import json

import numpy as np
import pytest

from benchmarks import transfer
from benchmarks._public_devices import import_devices, tasks
from benchmarks._transfer_rows import CEILING, Row, averages
from profiler._source_pack import shipped_packs
from profiler._workspace import Workspace
from search_spaces._costs import static_costs
from search_spaces.fbnet import FBNet
from search_spaces.nasbench201 import NasBench201

KINDS = {
    "nb201": {"1080ti_1": "gpu", "silver_4114": "cpu", "titanx_1": "gpu", "raspi4": "embedded cpu"},
    "nb201_hwnasbench": {"edgegpu": "embedded gpu", "raspi4": "embedded cpu"},
    "fbnet": {"1080ti_1": "gpu", "silver_4114": "cpu", "raspi4": "embedded cpu", "gold_6240": "cpu"},
}


def times(macs, seed):
    return (1 + macs / macs.mean()) * np.exp(np.random.default_rng(seed).normal(0, 0.02, len(macs)))


def write(path, header, texts, columns):
    lines = [",".join([text, *map(repr, row)]) for text, row in zip(texts, np.transpose(columns).tolist(), strict=True)]
    with gzip.open(path, "wt") as file:
        file.write("\n".join([header, *lines]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give a folder like that of the reference data, with few networks and devices."""
    found = tmp_path_factory.mktemp("data")
    listed = [f"{table},{name},{kind}" for table, kinds in KINDS.items() for name, kind in kinds.items()]
    (found / "devices.csv").write_text("\n".join(["table,column,kind", *listed]))
    for space, stem, table in ((NasBench201(), "nb201_latency", "nb201"), (FBNet(), "fbnet_latency", "fbnet")):
        networks = space.sample_distinct(90, seed=2)
        macs = np.array([static_costs(space.graph(item)).macs for item in networks], float)
        columns = [times(macs, seed) for seed in range(len(KINDS[table]))]
        texts = [item.text.partition(":")[2] for item in networks]
        if table == "nb201":
            write(found / f"{stem}.csv.gz", f"arch_str,{','.join(KINDS[table])}", texts, columns)
            header = "arch_str,cifar10_edgegpu_latency_ms,cifar10_raspi4_latency_ms,cifar10_edgegpu_energy_mj"
            write(found / "nb201_hwnasbench_cifar10.csv.gz", header, texts, [columns[1] * 3, columns[3], columns[0]])
        else:
            layers = ",".join(f"op_{i:02}" for i in range(1, 23))
            header = f"{layers},{','.join(KINDS[table])},macs,params"
            write(found / f"{stem}.csv.gz", header, [text.replace("|", ",") for text in texts], [*columns, macs, macs])
    return found


@pytest.fixture(autouse=True)
def reference(folder, monkeypatch):
    monkeypatch.setenv("HILNAS_REFERENCE_DATA", str(folder))


COMMON = ["--seeds", "2", "--workers", "1", "--source-samples", "40"]


def test_rows_are_averaged_by_family_seed_by_seed():
    def row(device, family, values, published=None, task="t", n=10):
        return Row(task, device, family, n, 99, {"spearman": values}, published)

    rows = [
        row("a", "phone", (0.1, 0.3)),
        row("b", "phone", (0.3, 0.5), 0.7),
        row("c", "Jetson", (1.0, 1.0), 0.9),
        row("a", "phone", (0.8, 0.8), n=20),
        row("a", "phone", None, task=CEILING, n=50),
        row("b", "phone", (0.9, 0.9), task=CEILING, n=40),
    ]
    found = {(item.task, item.n, item.family or item.device): item for item in averages(rows)}
    assert found["t", 10, "phone"].figures["spearman"] == pytest.approx((0.2, 0.4))
    assert found["t", 10, "mean of families (2)"].figures["spearman"] == pytest.approx((0.6, 0.7))
    compared = found["t", 10, "mean of HELP's devices (2)"]
    assert compared.figures["spearman"] == pytest.approx((0.65, 0.75)) and compared.published == pytest.approx(0.8)
    assert found["t", 20, "phone"].figures["spearman"] == (0.8, 0.8)
    assert found["t", 10, "Jetson"].device == "mean (1)"
    # One is not defined, and they were trained on different numbers.
    assert found[CEILING, 0, "phone"].figures["spearman"] is None
    assert compared.cells()[-2:] == ["0.700 ± 0.071", "0.800"]


def test_a_copy_is_no_device_and_energies_are_none(folder, tmp_path):
    with Workspace.open(tmp_path) as workspace:
        found = import_devices(workspace, folder, "nasbench201")
    assert [item.name for item in found] == ["1080ti_1", "silver_4114", "titanx_1", "raspi4", "edgegpu"]
    assert {item.name: item.family for item in found}["edgegpu"] == "Jetson"
    (task,) = tasks("nasbench201", found)
    assert [item.name for item in task.sources] == ["1080ti_1", "silver_4114"]
    assert [item.name for item in task.targets] == ["titanx_1", "raspi4", "edgegpu"]
    assert "samsung_a50" in task.missing


def test_tasks_of_fbnet_are_those_with_devices(folder, tmp_path):
    with Workspace.open(tmp_path) as workspace:
        found = {task.name: task for task in tasks("fbnet", import_devices(workspace, folder, "fbnet"))}
    names = {name: ([d.name for d in task.sources], [d.name for d in task.targets]) for name, task in found.items()}
    assert names == {
        "HELP": (["1080ti_1", "silver_4114"], ["raspi4"]),
        "FD": (["1080ti_1", "silver_4114"], ["gold_6240"]),
        "F1": (["silver_4114"], ["raspi4"]),
        "F2": (["gold_6240", "raspi4"], ["1080ti_1"]),
        "F3": (["raspi4"], ["1080ti_1"]),
        "F4": (["gold_6240", "raspi4"], ["1080ti_1"]),
        "GPUs to CPUs and phones": (["1080ti_1"], ["silver_4114", "gold_6240"]),
    }
    assert {device.name for task in found.values() for device in task.targets if device.is_sum} == {"raspi4"}


def test_a_run_prints_rows_averages_and_notes(capsys):
    assert transfer.main([*COMMON, "--budgets", "4,6", "--targets", "raspi4", "--ceiling", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    shown = [(row["task"], row["device"], row["n"]) for row in found["rows"][:3]]
    assert shown[:2] == [("HELP", "raspi4", 4), ("HELP", "raspi4", 6)]
    assert shown[2][:2] == (CEILING, "raspi4") and 60 <= shown[2][2] <= 72
    assert found["rows"][1]["published"] == 0.890 and found["rows"][2]["published"] is None
    assert found["rows"][1]["figures"]["spearman"][0] > 0.8
    assert found["rows"][2]["figures"]["best_source_spearman"] is None
    assert any("gradient_boosting" in note for note in found["notes"])


def test_intervals_in_markdown(capsys):
    assert transfer.main([*COMMON, "--intervals", "--space", "fbnet", "--targets", "gold_6240", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|") == 10
    assert lines[2].startswith("| FD | gold_6240 | x86 CPU | 40 |") and "HELP" not in lines[0]
    assert lines[3].startswith("| GPUs to CPUs and phones | gold_6240 ")


def test_what_cannot_run_says_why(capsys, monkeypatch, tmp_path):
    assert transfer.main([*COMMON, "--targets", "raspi5"]) == 2
    assert "raspi4" in capsys.readouterr().err
    monkeypatch.setenv("HILNAS_REFERENCE_DATA", str(tmp_path / "none"))
    assert transfer.main(COMMON) == 2
    assert "HILNAS_REFERENCE_DATA" in capsys.readouterr().err


def test_devices_of_a_pack_help_each_other(capsys):
    (name,) = shipped_packs()[:1]
    arguments = ["--pack", name, "--targets", "ort_1t", "--budgets", "5", "--seeds", "1", "--workers", "1", "--json"]
    assert transfer.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    row = found["rows"][0]
    assert (row["task"], row["device"], row["n"]) == (name, "ort_1t", 5)
    assert 80 <= row["n_evaluated"] <= 100 and row["figures"]["best_source_spearman"][0] > 0.5
