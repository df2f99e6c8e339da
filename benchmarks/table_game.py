"""The game on tables: how far the best feasible cell read within a budget lies below the best feasible one there is.

NAS-Bench-201 under limits on the latencies of HW-NAS-Bench, CIFAR-10. The objective is validation accuracy, read at
--evaluations architectures at most; test accuracy is read once, for the winner. Every searcher has the same limits,
budgets and seeds. `gradient and filter` is dca_nas without its multiplier: differentiable search whose derived cells
are read where they keep the limit. The tables are those of HILNAS_REFERENCE_DATA.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks._public_cells import column
from benchmarks._public_devices import reference_folder
from hilnas import plugins
from hilnas.output import answer
from hilnas.records import Constraint
from predictors._trials import cores, processes
from search_spaces.nasbench201 import NasBench201
from searchers._base import Searcher
from searchers._cost_models import TableCost
from searchers._figures import Figure, paired_difference
from searchers._loop import run_study
from searchers._problem import Problem
from searchers.evaluators.tabular import Tabular

SPACE = NasBench201()
#: Column of milliseconds -> limits in milliseconds.
LIMITS_MS = {
    "cifar10_raspi4_latency_ms": (20.0, 30.0, 40.0, 60.0),
    "cifar10_pixel3_latency_ms": (5.0, 10.0, 20.0),
    "cifar10_fpga_latency_ms": (3.0, 5.0, 7.0),
    "cifar10_edgegpu_latency_ms": (4.0, 6.0),
}
#: Name -> searcher and its options.
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dca_nas": ("dca_nas", {}),
    "gradient and filter": ("dca_nas", {"multiplier": False}),
    "regularized_evolution": ("regularized_evolution", {}),
    "latency_reward_rl": ("latency_reward_rl", {}),
    "random_search": ("random_search", {}),
}
RIVAL = "regularized_evolution"

Values = Mapping[str, float]


@dataclass(frozen=True)
class Game:
    """One limit: times (s), what is searched for, what the winner is judged by, and the best feasible of both."""

    name: str
    latency_s: Values
    limit_s: float
    objective: Values
    test: Values
    best_objective: float
    best_test: float


@dataclass(frozen=True)
class Outcome:
    """Of one search; regrets are None where nothing feasible was read."""

    objective_regret: float | None
    accuracy_regret: float | None
    evaluations: int
    elapsed_s: float


def main() -> int:
    """Print regrets for every limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    rows = run(games(reference_folder()), chosen.seeds, chosen.evaluations)
    won = sum(row["difference"] is not None and row["difference"]["mean"] < 0 for row in rows)
    values = {"seeds": chosen.seeds, "evaluations": chosen.evaluations, "limits": len(rows), "won": won, "rows": rows}
    print(json.dumps(answer(values, 0), indent=2) if chosen.json else _text(values))
    return 0


def games(folder: Path) -> list[Game]:
    """Return one game a limit."""
    objective = column(folder, "nb201_val_accuracy", "cifar10_val")
    test = column(folder, "nb201_accuracy", "cifar10")
    connected = {cell.text for cell in SPACE.enumerate() if SPACE.connected(cell)}
    found = []
    for name, limits in LIMITS_MS.items():
        latency_s = column(folder, "nb201_hwnasbench_cifar10", name, 1e-3)
        for limit_ms in limits:
            kept = [text for text, value in latency_s.items() if text in connected and value <= limit_ms * 1e-3]
            bests = (max(values[text] for text in kept) for values in (objective, test))
            title = f"{name.removeprefix('cifar10_').removesuffix('_latency_ms')} {limit_ms:g} ms"
            found.append(Game(title, latency_s, limit_ms * 1e-3, objective, test, *bests))
    return found


def run(asked: Sequence[Game], seeds: int, evaluations: int) -> list[dict[str, Any]]:
    """Return one row a game, with figures of every contender."""
    jobs = [(game, name) for game in asked for name in CONTENDERS]
    with processes(cores()) as pool:
        found = list((map if pool is None else pool.map)(partial(_searches, seeds, evaluations), jobs))
    outcomes = {(game.name, name): item for (game, name), item in zip(jobs, found, strict=True)}
    return [_row(game, {name: outcomes[game.name, name] for name in CONTENDERS}) for game in asked]


def _searches(seeds: int, evaluations: int, job: tuple[Game, str]) -> list[Outcome]:
    with threadpool_limits(limits=1):
        return [_outcome(*job, seed, evaluations) for seed in range(seeds)]


def _outcome(game: Game, contender: str, seed: int, evaluations: int) -> Outcome:
    name, options = CONTENDERS[contender]
    problem = Problem(SPACE.name, (Constraint("latency", game.limit_s),), evaluations, seed)
    searcher = plugins.load("searchers", name, Searcher)(SPACE, problem, **options)
    began = time.perf_counter()
    study = run_study(searcher, Tabular(SPACE, values=game.objective), [TableCost("latency", game.latency_s)], problem)
    elapsed_s = time.perf_counter() - began
    if study.winner is None or study.winner.score is None:
        return Outcome(None, None, len(study.evaluations), elapsed_s)
    accuracy = game.test[study.winner.architecture.text]
    return Outcome(
        game.best_objective - study.winner.score, game.best_test - accuracy, len(study.evaluations), elapsed_s
    )


def _row(game: Game, outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    regrets = {name: [item.objective_regret for item in found] for name, found in outcomes.items()}
    difference = paired_difference(regrets["dca_nas"], regrets[RIVAL])
    contenders = {
        name: {
            "objective_regret": _spread(regrets[name]),
            "accuracy_regret": _spread([item.accuracy_regret for item in found]),
            "feasible": sum(item.objective_regret is not None for item in found) / len(found),
            "most_evaluations": max(item.evaluations for item in found),
            "elapsed_s": _spread([item.elapsed_s for item in found]),
        }
        for name, found in outcomes.items()
    }
    compared = {"mean": difference.mean, "lower": difference.lower, "upper": difference.upper} if difference else None
    return {"limit": game.name, "contenders": contenders, "difference": compared}


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    figure = Figure.of(values)
    return {"mean": figure.mean, "sd": figure.sd}


def _text(values: Mapping[str, Any]) -> str:
    lines = [
        f"CIFAR-10, {values['seeds']} seeds, {values['evaluations']} evaluations; regret of the objective ± sd, "
        "regret of test accuracy, share of seeds with a feasible winner",
        f"{'':16}" + "".join(f"{name:>26}" for name in CONTENDERS) + f"{'dca_nas - evolution':>28}",
    ]
    for row in values["rows"]:
        cells = "".join(f"{_cell(row['contenders'][name]):>26}" for name in CONTENDERS)
        lines.append(f"{row['limit']:16}{cells}{_interval(row['difference']):>28}")
    lines.append(f"dca_nas below {RIVAL} on {values['won']} of {values['limits']} limits")
    return "\n".join(lines)


def _interval(compared: Mapping[str, float | None] | None) -> str:
    if compared is None or compared["lower"] is None:
        return "n/a"
    return f"{compared['mean']:+.3f} [{compared['lower']:+.3f}, {compared['upper']:+.3f}]"


def _cell(figures: Mapping[str, Any]) -> str:
    regret, accuracy = figures["objective_regret"], figures["accuracy_regret"]
    if regret["mean"] is None:
        return "n/a, 0"
    return f"{regret['mean']:.3f}±{regret['sd'] or 0:.2f} {accuracy['mean']:.2f} {figures['feasible']:.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
