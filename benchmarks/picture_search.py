"""DARTS, PC-DARTS and DCA-NAS on pictures: the same epochs and seeds, one search at a time.

Prints for each the seconds and the peak memory of a search (and their ratios to PC-DARTS, paired by seed), whether what
it proposes keeps the limit, its skips, the accuracy of its winner trained from scratch, and, in nasbench201 with
HILNAS_REFERENCE_DATA, the accuracy that the public table has of the winner on CIFAR-10. Random search beside each has
as long as the search took. `--ablation`: DARTS, and with the parts of DCA-NAS one after the other; ratios are to DARTS.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks._public_cells import column
from hilnas.output import answer
from hilnas.records import canonical_json
from profiler._campaign import silent
from profiler._workspace import Workspace
from searchers._picture_study import search_on_pictures
from searchers._records import StudyLog
from searchers._request import SearchRequest, set_up
from searchers._retraining import retrain_winners

#: Name -> searcher and its options.
Contenders = Mapping[str, tuple[str, tuple[str, ...]]]
METHODS: Contenders = {"darts": ("darts", ()), "pc_darts": ("pc_darts", ()), "dca_nas": ("dca_nas", ("bounds=1",))}
ABLATION: Contenders = {
    "darts": ("darts", ()),
    "+ shared operations": ("dca_nas", ("bounds=1", "bottleneck=1", "derived=false")),
    "+ bottleneck": ("dca_nas", ("bounds=1", "derived=false")),
    "+ derived cells": ("dca_nas", ("bounds=1",)),
}
#: Time of PC-DARTS over that of DCA-NAS, and memory.
TARGETS = (1.75, 1.0)
_ACCURACIES = ("accuracy", "random_accuracy", "public_accuracy", "random_public_accuracy")


def main() -> int:
    """Print figures and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="nasbench201", choices=["nasbench201", "darts"])
    parser.add_argument("--space-option", action="append", default=[], metavar="NAME=N", help="of what is deployed")
    parser.add_argument("--data", default="digits", help="folder of pictures, or digits")
    parser.add_argument("--limit", default="params=0.4M", help="as --max of hilnas search; none: no limit")
    parser.add_argument("--ablation", action="store_true", help="the parts of DCA-NAS one after the other")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="option of all three searches")
    parser.add_argument("--train-winner", type=int, default=10, metavar="EPOCHS")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    contenders, peer = (ABLATION, "darts") if chosen.ablation else (METHODS, "pc_darts")
    with tempfile.TemporaryDirectory() as folder:
        rows = run(chosen, contenders, Path(folder))
    values = {"settings": vars(chosen), "peer": peer, "rows": rows, "figures": figures(rows, peer)}
    print(json.dumps(answer(values, 0), indent=2) if chosen.json else _text(values))
    return 0


def run(chosen: argparse.Namespace, contenders: Contenders, folder: Path) -> list[dict[str, Any]]:
    """Return one row a contender and seed; those of a seed run in an order that is drawn."""
    rng = random.Random(0)
    pairs = [(seed, name) for seed in range(chosen.seeds) for name in rng.sample(list(contenders), len(contenders))]
    with Workspace.open(folder) as workspace:
        return [_row(workspace, chosen, name, *contenders[name], seed) for seed, name in pairs]


def _row(
    workspace: Workspace, chosen: argparse.Namespace, name: str, searcher: str, own: tuple[str, ...], seed: int
) -> dict[str, Any]:
    options = {item.partition("=")[0]: int(item.partition("=")[2]) for item in chosen.space_option}
    request = SearchRequest(
        searcher,
        chosen.space,
        canonical_json(options),
        limits=() if chosen.limit == "none" else (chosen.limit,),
        seed=seed,
        options=tuple(chosen.set) + own,
        data=chosen.data,
        train_winner=chosen.train_winner,
    )
    setup = set_up(workspace, request, None)
    folder = workspace.path / "studies"
    log = StudyLog.create(folder, request.to_json())
    found = search_on_pictures(setup, log, folder / log.study_id, silent, workers=1)
    trained = retrain_winners(setup, found.studies, silent)["accuracy"]
    (search,) = found.searches
    winners = {key: studies[0].winner for key, studies in found.studies.by_name.items()}
    public = _public(chosen.space)
    return {
        "method": name,
        "seed": seed,
        "search_s": search["elapsed_s"],
        "peak_bytes": search["peak_bytes"],
        "skips": search["history"][-1]["skips"] if search["history"] else None,
        "derived": search["derived"],
        "kept": winners[searcher] is not None,
        "accuracy": trained[searcher]["per_seed"][0],
        "public_accuracy": _entry(public, winners[searcher]),
        "random_accuracy": trained["random_search"]["per_seed"][0],
        "random_public_accuracy": _entry(public, winners["random_search"]),
        "random_networks": len(found.studies.by_name["random_search"][0].evaluations),
    }


def _public(space: str) -> Mapping[str, float]:
    """Return test accuracies on CIFAR-10, nothing where the tables are not there or of another space."""
    folder = os.environ.get("HILNAS_REFERENCE_DATA")
    if space != "nasbench201" or not folder:
        return {}
    return column(Path(folder), "nb201_accuracy", "cifar10")


def _entry(table: Mapping[str, float], winner: Any) -> float | None:
    return None if winner is None else table.get(winner.architecture.text)


def figures(rows: Sequence[Mapping[str, Any]], peer: str) -> dict[str, Any]:
    """Return means by method, and the ratios to the peer, paired by seed."""
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_method.setdefault(row["method"], []).append(row)
    peers = {row["seed"]: row for row in by_method[peer]}
    found = {}
    for name, own in by_method.items():
        times = [peers[row["seed"]]["search_s"] / row["search_s"] for row in own]
        memories = [peers[row["seed"]]["peak_bytes"] / row["peak_bytes"] for row in own]
        found[name] = {
            "faster": median(times),
            "faster_range": [min(times), max(times)],
            "smaller": median(memories),
            "kept": fmean(row["kept"] for row in own),
            **{key: _mean([row[key] for row in own]) for key in ("search_s", "peak_bytes", "skips", *_ACCURACIES)},
        }
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _text(values: Mapping[str, Any]) -> str:
    lines = [f"{values['settings']}"]
    for name, row in values["figures"].items():
        accuracies = " / ".join(_shown(row[key]) for key in _ACCURACIES)
        lines.append(
            f"{name:19} {row['search_s']:7.1f} s, {row['faster']:5.2f} x faster than {values['peer']} "
            f"({row['faster_range'][0]:.2f} to {row['faster_range'][1]:.2f}); {row['peak_bytes'] / 1e6:6.0f} MB, "
            f"{row['smaller']:5.2f} x less; limit kept {row['kept']:.0%}; skips {row['skips']:.1f}; trained, random "
            f"beside, public CIFAR-10, random: {accuracies}"
        )
    if values["peer"] == "pc_darts":
        lines.append(f"targets of dca_nas: {TARGETS[0]:g} x faster, {TARGETS[1]:g} x less memory, limit kept 100%")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
