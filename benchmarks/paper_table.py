"""Tables 1 and 2 of the training-free hardware-aware search of Tran and Bae (2021) on public indicators, CIFAR-10.

Each row is a score, searched under the limits of the paper with and without R_LAT, 500 episodes a seed; beside it the
figures the paper prints. Latencies are those of HW-NAS-Bench; labels are validation accuracies, 100 a seed; the test
accuracy of the winner is looked up after the search. The paper's own indicators NTK and output sensitivity are in no
public table: `--scores` names the folder `WORKSPACE/scores` where they were computed for all cells
(`python -m benchmarks.indicators --all --cache WORKSPACE/scores`).

Tables that leave cells out make a block of their own, in which every method sees only the cells that all have.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks._public_cells import column, names_of
from benchmarks._public_devices import reference_folder
from hilnas.errors import BadFile
from hilnas.output import answer
from hilnas.records import Architecture, Constraint
from predictors._trials import cores, processes
from search_spaces.nasbench201 import NasBench201
from searchers._cost_models import TableCost
from searchers._figures import Figure
from searchers._loop import run_study
from searchers._problem import Problem
from searchers._reward import REWARDS
from searchers.evaluators._base import Evaluator, Score
from searchers.evaluators._labels import Labels
from searchers.evaluators.forest import Forest
from searchers.evaluators.fusion_indicator import FusionIndicator
from searchers.evaluators.rank_fusion import RankFusion
from searchers.evaluators.tabular import Tabular
from searchers.evaluators.zero_cost import ZeroCost
from searchers.latency_reward_rl import LatencyRewardRL
from searchers.random_search import RandomSearch

SPACE = NasBench201()
EPISODES = 500
_HARDWARE = "nb201_hwnasbench_cifar10"
LABELS = 100
#: Device -> column of milliseconds, limit in seconds.
DEVICES = {
    "Edge GPU": ("cifar10_edgegpu_latency_ms", 0.006),
    "Raspberry Pi 4": ("cifar10_raspi4_latency_ms", 0.040),
    "Pixel 3": ("cifar10_pixel3_latency_ms", 0.020),
}
#: What the paper prints, in the order of the devices: test accuracy of winners, %.
PUBLISHED = {
    "CJ": (93.56, 93.07, 93.67),
    "NLR": (91.75, 90.27, 90.47),
    "CNNTK": (93.47, 93.41, 93.49),
    "OS": (93.32, 92.65, 93.35),
    "FI": (93.76, 93.42, 93.80),
    "FI without R_LAT": (93.44, 92.87, 93.27),
}
#: Column -> the paper's row it stands for.
STANDS_FOR = {
    "computed cj": "CJ",
    "computed nlr": "NLR",
    "computed cnntk": "CNNTK",
    "computed os": "OS",
    "naslib jacov": "CJ",
    "freerea nregions": "NLR",
}
#: What is fused, beside everything a block has: the paper's own four; of seven the two that together chose best of 500
#: random feasible cells; and all six that know every cell without a network being run here, which are within 0.01 of
#: the best set of them. Both were judged by validation accuracy, which is not what the table is judged by.
FUSED = {
    "the paper's four": ("computed cj", "computed nlr", "computed cnntk", "computed os"),
    "flow and skips": ("freerea logsynflow", "skip_span"),
    "tables and counts": (
        "freerea logsynflow",
        "freerea naswot",
        "freerea nregions",
        "freerea synflow",
        "live_macs",
        "skip_span",
    ),
}
#: Indicators that are counted in an instant, for all cells.
COUNTED = ("live_macs", "skip_span")
_MOST_BYTES = 64 * 2**20
#: How a row is named by what is rewarded.
_REWARDED = {"paper": "", "strict": ", strict", "none": ", no R_LAT"}

Values = Mapping[str, float]


class Covered(Evaluator):
    """An evaluator that knows some of the cells only."""

    cost = "that of the evaluator"

    def __init__(self, inner: Evaluator, texts: frozenset[str]) -> None:
        super().__init__(inner.space)
        self._inner = inner
        self._texts = texts

    def seeded(self, seed: int) -> Covered:
        """Return the same around the evaluator of a seed."""
        return Covered(self._inner.seeded(seed), self._texts)

    def may_win(self, architecture: Architecture) -> bool:
        """Return what the evaluator says."""
        return self._inner.may_win(architecture)

    def _scores(self, architectures: Sequence[Architecture]) -> list[Score]:
        scores = iter(self._inner.evaluate([item for item in architectures if item.text in self._texts]))
        missing = Score.missing("the tables of this block leave the cell out")
        return [next(scores) if item.text in self._texts else missing for item in architectures]

    def describe(self) -> dict[str, Any]:
        """Return what the evaluator says."""
        return self._inner.describe()


@dataclass(frozen=True)
class Tables:
    """Text -> value of everything that is known of cells: latencies in seconds by device, accuracies in percent."""

    latency_s: Mapping[str, Values]
    test: Values
    validation: Values
    indicators: Mapping[str, Values]


@dataclass(frozen=True)
class Case:
    """The searches of one score on one device, with or without R_LAT."""

    name: str
    evaluator: Evaluator
    device: str
    reward: str
    latency_s: Values
    test: Values


@dataclass(frozen=True)
class Outcome:
    """Of one search: test accuracy (%) and latency (s) of the winner, None without one; late feasible share."""

    accuracy: float | None
    latency_s: float | None
    feasible_share_last_100: float


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50, help="searches of each row")
    parser.add_argument("--scores", type=Path, help="folder with scores that were computed (WORKSPACE/scores)")
    parser.add_argument("--largest", action="store_true", help="only the block of all connected cells")
    parser.add_argument("--rewards", default="paper,none", help=f"of {', '.join(REWARDS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    rewards = tuple(chosen.rewards.split(","))
    if not set(rewards) <= set(REWARDS):
        parser.error(f"--rewards are some of {', '.join(REWARDS)}")
    tables = load(reference_folder(), chosen.scores)
    values = run(tables, chosen.seeds, chosen.largest, rewards)
    print(json.dumps(answer(values, 0), indent=2) if chosen.json else _text(values))
    return 0


def run(
    tables: Tables, seeds: int, largest: bool = False, rewards: Sequence[str] = ("paper", "none")
) -> dict[str, Any]:
    """Return all blocks, or the largest, as a JSON value."""
    blocks = []
    with processes(cores()) as pool:
        for texts, columns in islice(blocks_of(tables), 1 if largest else None):
            cases = [
                Case(name, evaluator, device, reward, tables.latency_s[device], tables.test)
                for name, evaluator in methods(tables, columns, texts).items()
                for reward in rewards
                for device in DEVICES
            ]
            found = (map if pool is None else pool.map)(partial(_search, seeds), cases)
            rows = _rows(list(zip(cases, found, strict=True)))
            blocks.append({"cells": len(texts), **_bounds(tables, texts, seeds), "rows": rows})
    return {"seeds": seeds, "episodes": EPISODES, "labels": LABELS, "published": PUBLISHED, "blocks": blocks}


def blocks_of(tables: Tables) -> Iterator[tuple[frozenset[str], Mapping[str, Values]]]:
    """Yield sets of cells, each with the indicators that know them all, the largest set first."""
    sets = sorted({frozenset(values) for values in tables.indicators.values()}, key=len, reverse=True)
    for texts in sets:
        known = {name: values for name, values in tables.indicators.items() if texts <= values.keys()}
        yield texts, {name: {text: values[text] for text in texts} for name, values in known.items()}


def methods(tables: Tables, columns: Mapping[str, Values], texts: frozenset[str]) -> dict[str, Evaluator]:
    """Return every column alone, and what can be made of them, with and without labels."""
    alone: dict[str, Evaluator] = {name: Tabular(SPACE, values=values, source=name) for name, values in columns.items()}
    labels = Labels({text: tables.validation[text] for text in texts}, LABELS, "validation accuracy")
    found = dict(alone)
    for of, names in {"all": tuple(alone), **FUSED}.items():
        if alone.keys() >= set(names):
            parts = [alone[name] for name in names]
            found[f"rank fusion of {of}"] = Covered(RankFusion(SPACE, parts=parts), texts)
            found[f"fusion indicator of {of}"] = Covered(FusionIndicator(SPACE, parts=parts, labels=labels), texts)
    return found | {"forest": Covered(Forest(SPACE, labels=labels), texts)}


def _search(seeds: int, case: Case) -> list[Outcome]:
    with threadpool_limits(limits=1):
        return [_outcome(case, seed) for seed in range(seeds)]


def _outcome(case: Case, seed: int) -> Outcome:
    problem = Problem(SPACE.name, (Constraint("latency", DEVICES[case.device][1]),), EPISODES, seed)
    searcher = LatencyRewardRL(SPACE, problem, reward=case.reward)
    study = run_study(searcher, case.evaluator.seeded(seed), [TableCost("latency", case.latency_s)], problem)
    if study.winner is None:
        return Outcome(None, None, study.feasible_share_last_100)
    text = study.winner.architecture.text
    return Outcome(case.test[text], case.latency_s[text], study.feasible_share_last_100)


def _rows(found: Sequence[tuple[Case, Sequence[Outcome]]]) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for case, outcomes in found:
        stands_for = "FI" if case.name.startswith("fusion indicator") else STANDS_FOR.get(case.name, case.name)
        paper = PUBLISHED.get(stands_for + (" without R_LAT" if case.reward == "none" else ""))
        rows.setdefault((case.name, case.reward), {})[case.device] = {
            "accuracy": _spread([item.accuracy for item in outcomes]),
            "latency_s": _spread([item.latency_s for item in outcomes]),
            "feasible_share_last_100": _spread([item.feasible_share_last_100 for item in outcomes]),
            "published_accuracy": None if paper is None else paper[list(DEVICES).index(case.device)],
        }
    return [{"score": name, "reward": reward, "devices": devices} for (name, reward), devices in rows.items()]


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    figure = Figure.of(values)
    return {"mean": figure.mean, "sd": figure.sd, "n": sum(value is not None for value in values)}


def _bounds(tables: Tables, texts: frozenset[str], seeds: int) -> dict[str, Any]:
    """Return per device the best test accuracy that keeps the limit, and random search's feasible share."""
    bounds: dict[str, Any] = {"oracle_accuracy": {}, "random_feasible_share": {}}
    for device, (_, limit_s) in DEVICES.items():
        latency_s = tables.latency_s[device]
        kept = [tables.test[text] for text in texts if latency_s[text] <= limit_s]
        bounds["oracle_accuracy"][device] = max(kept)
        problem = Problem(SPACE.name, (Constraint("latency", limit_s),), EPISODES, 0)
        evaluator = Tabular(SPACE, values=dict.fromkeys(texts, 0.0))
        shares = [
            run_study(
                RandomSearch(SPACE, replace(problem, seed=seed)), evaluator, [TableCost("latency", latency_s)], problem
            ).feasible_share
            for seed in range(min(seeds, 5))
        ]
        bounds["random_feasible_share"][device] = sum(shares) / len(shares)
    return bounds


def load(folder: Path, scores: Path | None) -> Tables:
    """Return the reference tables, and the scores that were computed."""
    connected = {cell.text for cell in SPACE.enumerate() if SPACE.connected(cell)}

    def scored(values: Values) -> Values:
        # Disconnected cells have no score, whatever a table says.
        return {text: value for text, value in values.items() if text in connected}

    indicators: dict[str, Values] = {}
    for source in ("freerea", "naslib"):
        table = f"nb201_zero_cost_{source}_cifar10"
        for name in names_of(folder, table):
            indicators[f"{source} {name.removeprefix('cifar10_')}"] = column(folder, table, name)
    cheap = {name: _counted(name) for name in COUNTED}
    return Tables(
        {device: column(folder, _HARDWARE, name, 1e-3) for device, (name, _) in DEVICES.items()},
        column(folder, "nb201_accuracy", "cifar10"),
        column(folder, "nb201_val_accuracy", "cifar10_val"),
        {name: scored(values) for name, values in sorted((indicators | cheap | computed(scores)).items())},
    )


def _counted(name: str) -> Values:
    cells = [cell for cell in SPACE.enumerate() if SPACE.connected(cell)]
    scores = ZeroCost(SPACE, indicator=name).evaluate(cells)
    return {cell.text: score.value for cell, score in zip(cells, scores, strict=True)}


def computed(folder: Path | None) -> dict[str, Values]:
    """Return `computed NAME` -> scores of all connected cells, from a folder of scores; raise BadFile.

    What has no finite score ranks below all others. Files that leave forms out are left out.
    """
    if folder is None:
        return {}
    forms = {cell.text: SPACE.canonical(cell) for cell in SPACE.enumerate() if SPACE.connected(cell)}
    found: dict[str, Values] = {}
    for path in sorted(folder.glob("*.jsonl")):
        if path.stat().st_size > _MOST_BYTES:
            raise BadFile(f"{path} is too large for scores of {SPACE.name}")
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            values = {str(form): -math.inf if value is None else float(value) for form, value, _ in rows}
        except (TypeError, ValueError) as error:
            raise BadFile(f"{path} holds no scores", repr(error)) from error
        if not values.keys() >= set(forms.values()):
            print(f"{path.name} does not score all cells: left out", file=sys.stderr)
            continue
        name = f"computed {path.stem.partition('-')[0]}"
        if name in found:
            raise BadFile(f"{folder} holds two complete tables of {name}", "", "Take one of them away.")
        worst = min(value for value in values.values() if math.isfinite(value)) - 1
        found[name] = {text: max(values[form], worst) for text, form in forms.items()}
    return found


def _text(values: Mapping[str, Any]) -> str:
    lines = [f"CIFAR-10, {values['seeds']} seeds, {EPISODES} episodes, {LABELS} labels where labels are used"]
    for block in values["blocks"]:
        lines += ["", f"{block['cells']} cells; winner's test accuracy % ± sd @ ms, feasible share of the last 100"]
        lines.append(f"{'':30}" + "".join(f"{device:>42}" for device in DEVICES))
        for title in ("oracle_accuracy", "random_feasible_share"):
            cells = (f"{block[title][device]:.4g}" for device in DEVICES)
            lines.append(f"{title.replace('_', ' '):30}" + "".join(f"{cell:>42}" for cell in cells))
        for row in block["rows"]:
            name = row["score"] + _REWARDED[row["reward"]]
            lines.append(f"{name:30}" + "".join(f"{_cell(row['devices'][device]):>42}" for device in DEVICES))
    return "\n".join(lines)


def _cell(figures: Mapping[str, Any]) -> str:
    accuracy, latency_s = figures["accuracy"], figures["latency_s"]
    if accuracy["mean"] is None:
        return "n/a"
    spread = "" if accuracy["sd"] is None else f"±{accuracy['sd']:.2f}"
    paper = "" if figures["published_accuracy"] is None else f" (paper {figures['published_accuracy']:.2f})"
    late = figures["feasible_share_last_100"]["mean"]
    return f"{accuracy['mean']:.2f}{spread} @{latency_s['mean'] * 1e3:.2f}, {late:.2f}{paper}"


if __name__ == "__main__":
    sys.exit(main())
