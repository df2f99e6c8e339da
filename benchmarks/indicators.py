"""What the indicators cost, and what they are worth.

Speed: CPU seconds an architecture of every indicator, one thread, for cells of NAS-Bench-201 as `hilnas search` scores
them. Beside `cj`, `cnntk` and `nlr` stand their plain forms (one backward pass an input, one comparison a ReLU), in
turn in one run; their values must agree to 1e-4, else the exit code is 3. No ratio is asked of `cnntk` and `nlr`: what
their passes take has to be computed either way, and only calls are saved.

--rank: Spearman correlation with trained accuracy (CIFAR-10, test and validation) on --n random connected cells of
different canonical form, for inputs of digits and of noise, with 95 % intervals by bootstrap; and with public columns
of the same indicators, computed by others on CIFAR-10's pictures. The tables are those of HILNAS_REFERENCE_DATA. Scores
are kept in --cache, so that a run that was stopped goes on; several may fill the same folder.

--all: score one cell of every form, for `benchmarks.paper_table --scores`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks._plain_indicators import PLAIN, plain_score
from benchmarks._public_cells import column
from benchmarks._public_devices import reference_folder
from benchmarks._timing import Comparison, interleave
from hilnas import plugins
from hilnas.output import answer
from hilnas.records import Architecture
from search_spaces._graph import Graph
from search_spaces.nasbench201 import NasBench201
from searchers.evaluators.zero_cost import ZeroCost
from searchers.evaluators.zero_cost._base import Indicator

SEED = 0
SPACE = NasBench201()
#: What vectorising must gain at least, where it saves work and not only calls.
TARGETS = {"cj": 3.0}
RESAMPLES = 1000
_PACKAGE = "searchers.evaluators.zero_cost"
#: Public columns of what is computed here: (file, column).
PUBLIC = {
    "jacov": (("naslib", "jacov"),),
    "nwot": (("naslib", "nwot"), ("freerea", "naswot")),
    "nlr": (("freerea", "nregions"),),
    "synflow": (("naslib", "synflow"), ("freerea", "synflow")),
    "logsynflow": (("freerea", "logsynflow"),),
}


@dataclass(frozen=True)
class Speed:
    """Seconds an architecture: median and quartiles over n; the plain form beside it and how far values differ."""

    name: str
    n: int
    median_s: float
    quartiles_s: tuple[float, float]
    plain: Comparison | None = None
    difference: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return {**asdict(self), "plain": None if self.plain is None else self.plain.to_json()}

    def line(self) -> str:
        """Return one line for people."""
        low, high = self.quartiles_s
        line = f"{self.name:10} {self.median_s * 1e3:8.3g} ms ({low * 1e3:.3g} to {high * 1e3:.3g}; {self.n} cells)"
        return line if self.plain is None else f"{line}\n{self.plain.line()}; values differ by {self.difference:.1e}"


@dataclass(frozen=True)
class Rank:
    """A Spearman correlation over n cells with its 95 % interval by bootstrap."""

    indicator: str
    inputs: str
    against: str
    n: int
    spearman: float
    interval: tuple[float, float]

    def line(self) -> str:
        """Return one line for people."""
        low, high = self.interval
        name = f"{self.indicator:10} {self.inputs:8} {self.against:20}"
        return f"{name} {self.spearman:6.3f} [{low:.3f}, {high:.3f}]  n = {self.n}"


def speeds(names: Sequence[str], n: int) -> list[Speed]:
    """Return what the indicators cost on n cells, after one that is not counted."""
    cells = SPACE.sample_distinct(n + 1, seed=SEED)
    return [_speed(name, cells) for name in names]


def _speed(name: str, cells: Sequence[Architecture]) -> Speed:
    kind = plugins.load(_PACKAGE, name, Indicator, "indicator")
    indicator = kind()
    scored = ZeroCost(SPACE, indicator=name).describe()["space_options"]
    graphs = [NasBench201(**scored).graph(cell) for cell in cells]
    if name not in PLAIN:
        seconds = [_seconds(indicator, graph) for graph in graphs][1:]
        return Speed(name, len(seconds), *_spread(seconds))
    values: tuple[list[float], list[float]] = ([], [])
    pairs = [([graph], [graph]) for graph in graphs]
    ours_s, plain_s = interleave(
        pairs,
        lambda graph: values[0].append(indicator.score(graph)),
        lambda graph: values[1].append(plain_score(name, indicator, graph)),
        SEED,
        time.process_time,
    )
    comparison = Comparison("the plain form", TARGETS.get(name), ours_s[1:], plain_s[1:])
    ours, plain = (np.array(item) for item in values)
    difference = float(np.max(np.abs(ours - plain) / np.maximum(np.abs(plain), np.finfo(float).tiny)))
    return Speed(name, len(graphs) - 1, *_spread(ours_s[1:]), comparison, difference)


def _seconds(indicator: Indicator, graph: Graph) -> float:
    start = time.process_time()
    indicator.score(graph)
    return time.process_time() - start


def _spread(seconds: Sequence[float]) -> tuple[float, tuple[float, float]]:
    low, median, high = (float(value) for value in np.percentile(seconds, (25, 50, 75)))
    return median, (low, high)


def ranks(names: Sequence[str], n: int, cache: Path) -> list[Rank]:
    """Return the correlations of all indicators on n cells, with accuracies and with public columns."""
    cells = SPACE.sample_distinct(n, seed=SEED)
    columns = _columns(reference_folder())
    found: list[Rank] = []
    for name in names:
        for settings in _settings(name):
            print(f"{name} {settings}", file=sys.stderr)
            scores = [
                score.value for score in ZeroCost(SPACE, indicator=name, settings=settings, cache=cache).evaluate(cells)
            ]
            against = {label: columns[label] for label in ("test", "validation")}
            against |= {f"{file} {column}": columns[f"{file} {column}"] for file, column in PUBLIC.get(name, ())}
            found += [
                _rank(name, settings.get("inputs", ""), label, cells, scores, column)
                for label, column in against.items()
            ]
    return found


def score_all(names: Sequence[str], cache: Path) -> None:
    """Score one connected cell of every canonical form."""
    cells = list({SPACE.canonical(cell): cell for cell in SPACE.enumerate() if SPACE.connected(cell)}.values())
    for name in names:
        print(name, file=sys.stderr)
        ZeroCost(SPACE, indicator=name, cache=cache).evaluate(cells)


def _settings(name: str) -> list[dict[str, str]]:
    """Return the kinds of inputs of an indicator; one of none where it takes none."""
    usual = plugins.load(_PACKAGE, name, Indicator, "indicator")().settings
    return [{"inputs": kind} for kind in ("digits", "noise")] if "inputs" in usual else [{}]


def _rank(
    name: str,
    inputs: str,
    label: str,
    cells: Sequence[Architecture],
    scores: Sequence[float],
    column: Mapping[str, float],
) -> Rank:
    """Return the correlation on the cells that the column has; a cell without a score ranks last."""
    pairs = [(score, column[cell.text]) for cell, score in zip(cells, scores, strict=True) if cell.text in column]
    values = np.array(pairs).T
    rng = np.random.default_rng(SEED)
    drawn = [spearman(values[:, rng.integers(len(pairs), size=len(pairs))]) for _ in range(RESAMPLES)]
    low, high = (float(item) for item in np.nanpercentile(drawn, (2.5, 97.5)))
    return Rank(name, inputs, label, len(pairs), spearman(values), (low, high))


def spearman(values: NDArray[np.float64]) -> float:
    """Return Spearman's correlation of two rows, ties with their mean rank; NaN where one of them is constant."""
    first, second = (rankdata(row) for row in values)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def _columns(folder: Path) -> dict[str, dict[str, float]]:
    """Return accuracies and public columns by an architecture's text."""
    found = {
        "test": column(folder, "nb201_accuracy", "cifar10"),
        "validation": column(folder, "nb201_val_accuracy", "cifar10_val"),
    }
    for file, name in {pair for pairs in PUBLIC.values() for pair in pairs}:
        found[f"{file} {name}"] = column(folder, f"nb201_zero_cost_{file}_cifar10", f"cifar10_{name}")
    return found


def main() -> int:
    """Print what was asked for; return 3 where a plain form gives another value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rank", action="store_true", help="correlations instead of speed")
    parser.add_argument("--all", action="store_true", help="score all cells")
    parser.add_argument("--n", type=int, help="cells (of speed 16, of correlations 1000)")
    parser.add_argument("--only", action="append", help="only this indicator (may be repeated)")
    parser.add_argument("--cache", type=Path, default=Path(".hilnas/scores"), help="folder of the scores")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    names = chosen.only or plugins.names(_PACKAGE)
    if chosen.all:
        score_all(names, chosen.cache)
        return 0
    if chosen.rank:
        rows = ranks(names, chosen.n or 1000, chosen.cache)
        return _print(chosen.json, "ranks", [asdict(row) for row in rows], [row.line() for row in rows])
    found = speeds(names, chosen.n or 16)
    _print(chosen.json, "speeds", [item.to_json() for item in found], [item.line() for item in found])
    return 3 if any(item.difference is not None and not item.difference <= 1e-4 for item in found) else 0


def _print(as_json: bool, name: str, values: list[dict[str, Any]], lines: list[str]) -> int:
    text = json.dumps(answer({name: values}, SEED), indent=2) if as_json else "\n".join(lines)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
