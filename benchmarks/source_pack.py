"""The same NAS-Bench-201 cells on every runtime of this machine: tables with provenance, and how their ranks agree.

`python -m benchmarks.source_pack --workspace DIR [--out FOLDER] [--only NAME,...] [--quick] [--json]` continues what
was begun in the same workspace. FOLDER becomes the pack (default: DIR/pack); those that ship lie in
profiler/source_packs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hilnas.errors import UnknownName
from hilnas.output import answer
from hilnas.records import MeasurementProtocol
from profiler._campaign import Progress
from profiler._pack_campaigns import PROTOCOL, SOURCES, Measured, Source, measure_source, write_measured
from profiler._plan import load_space, sample_workloads
from profiler._source_pack import Agreement, SourcePack, agreements
from profiler._workspace import Workspace

CELLS, QUICK_CELLS, QUICK_COMPILED = 200, 5, 3
SEED = 201


def run(folder: Path, out: Path, sources: Sequence[Source], n: int, protocol: MeasurementProtocol) -> SourcePack:
    """Measure what is missing and return the pack."""
    workloads = sample_workloads(load_space("nasbench201"), n, SEED)
    measured: list[Measured] = []
    with Workspace.open(folder) as workspace:
        for source in sources:
            found = measure_source(workspace, source, workloads, protocol, SEED, _progress(source.name))
            print(f"\r{source.name}: {_told(found)}", file=sys.stderr)
            measured.append(found)
        return write_measured(out, workspace, measured, workloads, SEED)


def quick() -> tuple[list[Source], MeasurementProtocol]:
    """Return few cells and few calls: whether it works, not how fast anything is."""
    protocol = replace(PROTOCOL, min_invocations=2, max_invocations=2, reject_half_width=1.0, max_measure_s=0.1)
    protocol = replace(protocol, min_measure_s=0.05, sentinel_every=0, max_drift=1.0)
    return [replace(source, n=source.n and QUICK_COMPILED, scatters=False) for source in SOURCES], protocol


def _chosen(sources: Sequence[Source], only: str) -> list[Source]:
    by_name = {source.name: source for source in sources}
    for name in filter(None, only.split(",")):
        if name not in by_name:
            raise UnknownName("source", name, by_name)
    return [source for source in sources if not only or source.name in only.split(",")]


def _progress(name: str) -> Progress:
    def show(done: int, total: int, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{name}: {done} of {total}, {text}   ", end="", file=sys.stderr)

    return show


def _told(found: Measured) -> str:
    if found.result is None:
        return f"left out: {found.problem}"
    summary = found.result.summary
    return f"{summary.ok} ok, {summary.rejected} rejected, {summary.failed} failed in {summary.elapsed_s:.0f} s"


def _to_json(pack: SourcePack, pairs: Sequence[Agreement]) -> dict[str, Any]:
    rows = [{"first": pair.first, "second": pair.second, "spearman": pair.spearman, "n": pair.n} for pair in pairs]
    return {"devices": pack.provenance["devices"], "left_out": pack.provenance["left_out"], "spearman": rows}


def _matrix(pack: SourcePack, pairs: Sequence[Agreement]) -> list[str]:
    """Return the matrix as lines: a row and a column a device."""
    values = {(pair.first, pair.second): pair.spearman for pair in pairs}
    names = list(pack.tables)
    wide = max(map(len, names))
    lines = [" " * wide + "".join(f"{i + 1:>7}" for i in range(len(names)))]
    for i, first in enumerate(names):
        cells = [1.0 if first == other else values.get((first, other), values.get((other, first))) for other in names]
        shown = "".join("    n/a" if value is None else f"{value:7.3f}" for value in cells)
        lines.append(f"{first:<{wide}}{shown}   ({i + 1}, {len(pack.tables[first])} cells)")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True, help="folder of the records; begun work is continued")
    parser.add_argument("--out", type=Path, help="folder that becomes the pack")
    parser.add_argument("--only", default="", help="names of sources, separated by commas")
    parser.add_argument("--quick", action="store_true", help="5 cells and few calls")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    sources, protocol = quick() if given.quick else (list(SOURCES), PROTOCOL)
    n = QUICK_CELLS if given.quick else CELLS
    pack = run(given.workspace, given.out or given.workspace / "pack", _chosen(sources, given.only), n, protocol)
    pairs = agreements(pack)
    if given.json:
        print(json.dumps(answer(_to_json(pack, pairs), SEED), indent=2))
        return
    print(f"Spearman's rank correlation of latencies over {n} NAS-Bench-201 cells")
    print("\n".join(_matrix(pack, pairs)))


if __name__ == "__main__":
    main()
