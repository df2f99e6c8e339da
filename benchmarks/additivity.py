"""Does the time of a network add up from its blocks on this machine's ONNX Runtime, and what does a correction give?

`python -m benchmarks.additivity --workspace DIR [--quick] [--json]` measures the blocks of NAS-Bench-201, pairs of
them and 200 networks, then predicts 100 held-out networks with tables fitted on 10 to 100 others: by the sum, and by
the sum with a correction. What is recorded in the workspace already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilnas.output import answer
from predictors._additivity import AuditReport, AuditRequest, audit_device
from predictors._entries import EntryValue
from predictors._evaluation import Scores, evaluate
from predictors._samples import Samples, block_entries, recorded_samples
from predictors.lookup_table import LookupTable
from profiler._campaign import resume
from profiler._plan import load_space
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace

DEVICE, SEED = "local_cpu", 201
SIZES, HELD_OUT, PAIRS = (10, 20, 50, 100), 100, 150
QUICK_SIZES, QUICK_HELD_OUT, QUICK_PAIRS = (8, 10), 6, 3
#: What stands beside each other: a table without and with a correction (on only where it wins).
KINDS: Mapping[str, bool | None] = {"additive": False, "additive_residual": None}


@dataclass(frozen=True, slots=True)
class Point:
    """The scores on the held-out networks of a table fitted on n others, and what that table chose."""

    kind: str
    n_train: int
    scores: Scores
    parameters: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        chosen = {name: self.parameters[name] for name in ("graph", "intercept", "a_s", "b", "correction")}
        return {"kind": self.kind, "n_train": self.n_train, **chosen, "scores": self.scores.to_json()}


def curve(
    space: SearchSpace,
    entries: Mapping[str, EntryValue],
    samples: Samples,
    sizes: Sequence[int],
    n_test: int,
    seed: int,
) -> list[Point]:
    """Return the scores on the same n_test networks for every kind of table and number of others it is fitted on."""
    order = np.random.default_rng(seed).permutation(len(samples)).tolist()
    test, rest = samples.take(order[:n_test]), order[n_test:]
    found = []
    for kind, correction in KINDS.items():
        for n in sizes:
            train = samples.take(rest[:n])
            table = LookupTable(space, entries=entries, correction=correction, seed=seed)
            table.fit(train.architectures, train.latency_s)
            limit_s = float(np.median(train.latency_s))
            scores = evaluate(test.latency_s, table.predict(test.architectures), limit_s)
            found.append(Point(kind, len(train), scores, table.parameters()))
    return found


def run(folder: Path, sizes: Sequence[int], n_test: int, n_pairs: int) -> tuple[AuditReport, list[Point]]:
    """Measure what is missing; return the audit of all networks and the scores on the held-out ones."""
    space = load_space("nasbench201")
    with Workspace.open(folder) as workspace:
        for campaign in workspace.store.campaigns():
            if campaign.device == DEVICE and campaign.state != "finished":
                resume(workspace, campaign.run_id, progress=_progress)
        report = audit_device(
            workspace, space, AuditRequest(DEVICE, max(sizes) + n_test, n_pairs, SEED), None, _progress
        )
        entries = block_entries(workspace, DEVICE, space)
        samples = recorded_samples(workspace, DEVICE, space)
        return report, curve(space, entries, samples, sizes, n_test, SEED)


def _progress(done: int, total: int, text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total}, {text}   ", end="", file=sys.stderr)


def _lines(report: AuditReport, points: Sequence[Point]) -> list[str]:
    found = report.findings
    lines = [
        f"ONNX Runtime of this machine, NAS-Bench-201: {found.n} networks, {len(found.pairs)} pairs of blocks",
        f"latency = {found.intercept_s * 1e3:.3g} ms + {found.slope:.3f} x sum ({found.graph}), "
        f"spread {found.residual_sd:.1%}",
    ]
    for point in points:
        scores = point.scores
        lines.append(
            f"{point.kind:>18} fitted on {point.n_train:>3}: within 5 % {_share(scores.within_5)}, within 10 % "
            f"{_share(scores.within_10)} of {scores.n} held-out networks; MAPE {_share(scores.mape)}, "
            f"correction {point.parameters['correction']}"
        )
    for item in found.blocks:
        if item.breaks:
            bounds = f"[{item.lower:.2f}, {item.upper:.2f}]"
            blocks = ", ".join(item.blocks)
            lines.append(f"breaks additivity by {item.contribution:.1%}: x {item.coefficient:.2f} {bounds} {blocks}")
    for pair in found.pairs:
        if pair.verdict in ("fused", "dearer"):
            saving, low, high, apart = (
                f"{value * 1e6:.2f}" for value in (pair.saving_s, pair.lower_s, pair.upper_s, pair.apart_s)
            )
            lines.append(
                f"{pair.verdict}: saves {saving} us [{low}, {high}] of {apart} us: {pair.first} > {pair.second}"
            )
    return lines


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True, help="folder of the records; begun work is continued")
    parser.add_argument("--quick", action="store_true", help="16 networks and 3 pairs: whether it works")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    sizes, n_test, n_pairs = (QUICK_SIZES, QUICK_HELD_OUT, QUICK_PAIRS) if given.quick else (SIZES, HELD_OUT, PAIRS)
    report, points = run(given.workspace, sizes, n_test, n_pairs)
    if given.json:
        values = {"audit": report.to_json(), "held_out": [point.to_json() for point in points]}
        print(json.dumps(answer(values, SEED), indent=2))
        return
    print("\n".join(_lines(report, points)))


if __name__ == "__main__":
    main()
