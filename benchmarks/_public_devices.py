"""Public tables of devices: what their columns are, and the tasks of transfer that others have published on them.

HELP: Lee et al., NeurIPS 2021 (figures of its README, tables 2 and 3, 10 samples). FD, F1 to F4, FA: the tasks of
NASFLAT (Akhauri and Abdelfattah, MLSys 2024, device_task_list.py), as far as their devices are in the tables.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hilnas.errors import UsageError
from profiler._import import import_request, import_table
from profiler._source_pack import load_pack
from profiler._workspace import Workspace

#: Tables of a space with their units and the name that devices.csv has for them.
_TABLES: Mapping[str, Sequence[tuple[str, tuple[str, ...], str]]] = {
    "nasbench201": (
        ("nb201_latency", ("ms",), "nb201"),
        ("nb201_hwnasbench_cifar10", ("none",), "nb201_hwnasbench"),
        ("nb201_latency_edge_public", ("ms",), "nb201_edge"),
    ),
    "fbnet": (("fbnet_latency", ("ms", "macs=none", "params=none"), "fbnet"),),
}
_FAMILIES = {
    "gpu": "desktop GPU",
    "cpu": "x86 CPU",
    "phone": "phone",
    "embedded cpu": "Raspberry Pi",
    "embedded gpu": "Jetson",
    "npu": "accelerator",
    "asic model": "accelerator",
    "fpga model": "accelerator",
}
#: What devices.csv leaves out.
_EDGE_KINDS = {"myriad_vpu": "npu", "adreno640": "phone", "kryo_cpu_855": "phone", "i7": "cpu"}
#: Devices of a pack with fewer cells are neither sources nor targets.
_PACK_CELLS = 100
#: Columns of FBNet that are sums of a block table: nobody measured these networks.
_SUMS = ("raspi4", "pixel3", "eyeriss", "fpga")


@dataclass(frozen=True, slots=True)
class Device:
    """A column of times: its address, a short name, the family of hardware, whether it is a sum of a block table."""

    address: str
    name: str
    family: str
    is_sum: bool


@dataclass(frozen=True, slots=True)
class _Published:
    """A task as published: names of devices, separated by spaces (no targets: all others).

    HELP's Spearman by device, and its mean over all the targets, where they are known.
    """

    name: str
    sources: str
    targets: str = ""
    spearman: Mapping[str, float] = field(default_factory=dict)
    mean: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Which devices help with which, as far as there are tables of them, and what others have reached."""

    name: str
    sources: tuple[Device, ...]
    targets: tuple[Device, ...]
    missing: tuple[str, ...] = ()
    spearman: Mapping[str, float] = field(default_factory=dict)
    mean: float | None = None


_HELPERS = "silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7"
_FBNET_HELPERS = f"1080ti_1 1080ti_32 1080ti_64 {_HELPERS}"
_CELLS = _Published(
    "HELP",
    f"1080ti_1 1080ti_32 1080ti_256 {_HELPERS}",
    spearman={
        "titan_rtx_256": 0.987,
        "gold_6226": 0.989,
        "fpga": 0.985,
        "pixel2": 0.802,
        "raspi4": 0.890,
        "eyeriss": 0.940,
    },
    mean=0.932,
)
_GPUS = " ".join(f"{gpu}_{n}" for gpu in ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp") for n in (1, 32, 64))
_FBNET = (
    _Published(
        "HELP",
        _FBNET_HELPERS,
        "raspi4 eyeriss fpga",
        {"raspi4": 0.887, "eyeriss": 0.943, "fpga": 0.892},
        mean=0.910,
    ),
    _Published("FD", _FBNET_HELPERS, "titanx_1 titanx_32 titanx_64 gold_6240"),
    _Published(
        "F1",
        "2080ti_1 essential_ph_1 silver_4114 titan_rtx_1 titan_rtx_32",
        "eyeriss fpga raspi4 samsung_a50 samsung_s7",
    ),
    _Published(
        "F2",
        "essential_ph_1 gold_6226 gold_6240 pixel3 raspi4",
        "1080ti_1 1080ti_32 2080ti_32 titan_rtx_1 titanxp_1",
    ),
    _Published(
        "F3",
        "essential_ph_1 pixel2 pixel3 raspi4 samsung_s7",
        "1080ti_1 1080ti_32 2080ti_1 titan_rtx_1 titan_rtx_32",
    ),
    _Published(
        "F4",
        "1080ti_64 2080ti_1 eyeriss gold_6226 gold_6240 raspi4 samsung_s7 silver_4210r titan_rtx_1 titan_rtx_32",
        "1080ti_1 pixel2 essential_ph_1",
    ),
    # The mean is HELP's with 20 samples, from the logs in NASFLAT's repository.
    _Published("FA", _GPUS, "gold_6226 essential_ph_1 samsung_s7 pixel2", mean=0.401),
)


def reference_folder() -> Path:
    """Return the folder with the tables; raise UsageError where there is none."""
    usual = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("HILNAS_REFERENCE_DATA", usual))
    if not folder.is_dir():
        raise UsageError(f"no reference data: {folder} is no folder", "", "Name it in HILNAS_REFERENCE_DATA.")
    return folder


def import_devices(workspace: Workspace, folder: Path, space: str) -> list[Device]:
    """Import the tables of a space that are there and return their columns of times; a copy of another is left out."""
    with (folder / "devices.csv").open(newline="") as file:
        kinds = {(row["table"], row["column"]): row["kind"] for row in csv.DictReader(file)}
    kinds |= {("nb201_edge", name): kind for name, kind in _EDGE_KINDS.items()}
    found: list[Device] = []
    seen: list[Mapping[str, float]] = []
    for stem, units, listed in _TABLES[space]:
        path = folder / f"{stem}.csv.gz"
        if not path.exists():
            continue
        import_table(workspace.store, import_request(path, stem, space, units))
        for column in workspace.store.table_columns(stem):
            if column.dimension != "time" or column.values in seen:
                continue
            seen.append(column.values)
            name = column.name.removeprefix("cifar10_").removesuffix("_latency_ms")
            family = _FAMILIES[kinds[listed, name]]
            found.append(Device(f"table:{stem}/{column.name}", name, family, space == "fbnet" and name in _SUMS))
    return found


def pack_tasks(name: str) -> list[Task]:
    """Return a task for each device of a source pack, with the others as sources; those with few cells are left out."""
    pack = load_pack(name)
    devices = [
        Device(f"source_pack:{name}/{device}", device, "runtimes", is_sum=False)
        for device, rows in pack.tables.items()
        if len(rows) >= _PACK_CELLS
    ]
    return [Task(name, tuple(item for item in devices if item != target), (target,)) for target in devices]


def tasks(space: str, devices: Sequence[Device]) -> list[Task]:
    """Return the tasks of a space that the devices allow: with a source and a target at least."""
    published = (_CELLS,) if space == "nasbench201" else _FBNET
    found = [_task(item, devices) for item in published]
    if space == "fbnet":
        gpus = tuple(device for device in devices if device.family == "desktop GPU")
        rest = tuple(device for device in devices if device.family in ("x86 CPU", "phone"))
        found.append(Task("GPUs to CPUs and phones", gpus, rest))
    return [task for task in found if task.sources and task.targets]


def _task(published: _Published, devices: Sequence[Device]) -> Task:
    by_name = {device.name: device for device in devices}
    sources = published.sources.split()
    targets = published.targets.split() or [name for name in by_name if name not in sources]
    return Task(
        published.name,
        tuple(by_name[name] for name in sources if name in by_name),
        tuple(by_name[name] for name in targets if name in by_name),
        tuple(name for name in dict.fromkeys([*sources, *targets, *published.spearman]) if name not in by_name),
        published.spearman,
        published.mean,
    )
