"""Source packs: latencies of the same architectures on several devices, small tables that ship with their provenance.

A pack is a folder of `profiler/source_packs`: `pack.json` says on what and how it was measured, and for every device
there is a DEVICE.csv.gz with a row an architecture (arch_str, latency_s, half_width_s, invocations).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from hilnas.errors import BadFile, UnknownName

_COLUMNS = ("arch_str", "latency_s", "half_width_s", "invocations")
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class PackRow:
    """One architecture on one device: median of the invocation medians, half its interval, invocations."""

    architecture: str
    latency_s: float
    half_width_s: float | None
    invocations: int


@dataclass(frozen=True)
class SourcePack:
    """Tables by device, and what `pack.json` says."""

    name: str
    provenance: Mapping[str, Any]
    tables: Mapping[str, tuple[PackRow, ...]]

    def latencies(self, device: str) -> dict[str, float]:
        """Return seconds by architecture; raise UnknownName for a device that is not in the pack."""
        if device not in self.tables:
            raise UnknownName(f"device of the source pack {self.name}", device, self.tables)
        return {row.architecture: row.latency_s for row in self.tables[device]}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Spearman's rank correlation of two devices over the `n` architectures that both have."""

    first: str
    second: str
    spearman: float
    n: int


def shipped_packs() -> list[str]:
    """Return the names of the packs that ship, sorted."""
    return sorted(path.parent.name for path in _shipped().glob("*/pack.json"))


def pack_folder(name: str) -> Path:
    """Return the folder of a pack that ships; raise UnknownName for one that is not there."""
    if name not in shipped_packs():
        raise UnknownName("source pack", name, shipped_packs())
    return _shipped() / name


def load_pack(name: str) -> SourcePack:
    """Return a pack that ships; raise UnknownName for one that is not there."""
    return read_pack(pack_folder(name))


def read_pack(folder: Path) -> SourcePack:
    """Return the pack in a folder; raise BadFile for one that is missing or damaged."""
    try:
        provenance = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        names = [str(device["name"]) for device in provenance["devices"]]
        tables = {name: _read_table(folder / f"{name}.csv.gz") for name in names}
    except OSError as error:
        raise BadFile(f"the source pack {folder} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, EOFError, zlib.error) as error:
        raise BadFile(f"the source pack {folder} is damaged: {error}") from error
    return SourcePack(folder.name, provenance, tables)


def write_pack(folder: Path, provenance: Mapping[str, Any], tables: Mapping[str, Iterable[PackRow]]) -> SourcePack:
    """Write a pack, the same bytes for the same values, and return it as it reads back."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        # Neither name nor time in the header of the file: its bytes depend on the values alone.
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(_as_csv(rows).encode(), mtime=0))
    text = json.dumps({"schema_version": _SCHEMA, **provenance}, indent=1, sort_keys=True)
    (folder / "pack.json").write_text(text + "\n", encoding="utf-8")
    return read_pack(folder)


def agreements(pack: SourcePack) -> list[Agreement]:
    """Return the rank correlation of every pair of devices with at least three architectures in common.

    A pair one of which has equal values only is left out: ranks say nothing there.
    """
    from scipy.stats import spearmanr

    found = []
    for first, second in combinations(pack.tables, 2):
        a, b = pack.latencies(first), pack.latencies(second)
        common = sorted(set(a) & set(b))
        columns = [[values[item] for item in common] for values in (a, b)]
        if len(common) >= 3 and all(len(set(column)) > 1 for column in columns):
            found.append(Agreement(first, second, float(spearmanr(columns[0], columns[1]).statistic), len(common)))
    return found


def _as_csv(rows: Iterable[PackRow]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in sorted(rows, key=lambda row: row.architecture):
        half = "" if row.half_width_s is None else f"{row.half_width_s:.4g}"
        writer.writerow([row.architecture, f"{row.latency_s:.7g}", half, row.invocations])
    return buffer.getvalue()


def _read_table(path: Path) -> tuple[PackRow, ...]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise ValueError(f"{path.name} has other columns than {', '.join(_COLUMNS)}")
    return tuple(_row(cells, path) for cells in rows[1:])


def _row(cells: list[str], path: Path) -> PackRow:
    if len(cells) != len(_COLUMNS):
        raise ValueError(f"{path.name}: a row of {len(cells)} cells")
    latency_s, half_width_s = float(cells[1]), float(cells[2]) if cells[2] else None
    if not (math.isfinite(latency_s) and latency_s > 0 and (half_width_s is None or 0 <= half_width_s < math.inf)):
        raise ValueError(f"{path.name}: {cells[1]} s ± {cells[2]} s is no latency")
    return PackRow(cells[0], latency_s, half_width_s, int(cells[3]))


def _shipped() -> Path:
    return Path(__file__).parent / "source_packs"
