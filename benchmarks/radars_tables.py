"""What pruning keeps of NAS-Bench-201: the share of the feasible best that lies in merged sub-spaces.

Under each limit on the latencies of HW-NAS-Bench (CIFAR-10) the feasible best are the top 1 % of the cells that keep
it, by test accuracy. Sub-spaces are merged edge by edge from P cells: the best that QuantNAS' controller reads in N
evaluations of validation accuracy under Eq. 2, the best of N random ones by a training-free score, and P random ones.
The tables are those of HILNAS_REFERENCE_DATA.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks._fronts import paired, spread
from benchmarks._public_cells import column
from benchmarks._public_devices import reference_folder
from benchmarks.table_game import SPACE, Game, games
from hilnas.output import answer
from hilnas.records import Architecture, Constraint
from predictors._trials import cores, processes
from searchers._cost_models import TableCost
from searchers._loop import run_study
from searchers._problem import Problem
from searchers.evaluators.tabular import Tabular
from searchers.quantnas import QuantNas

_BEST = 0.01
ORIGINS = ("learned", "training-free", "random")


def main() -> int:
    """Print shares for every limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=50, help="N: what each origin may look at")
    parser.add_argument("--top", type=int, default=6, help="P: cells that are merged")
    parser.add_argument("--score", default="cifar10_synflow", help="column of the training-free scores")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    rows = run(chosen)
    print(json.dumps(answer({"settings": vars(chosen), "rows": rows}, 0), indent=2) if chosen.json else _text(rows))
    return 0


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row a limit."""
    folder = reference_folder()
    scores = column(folder, "nb201_zero_cost_naslib_cifar10", chosen.score)
    work = partial(_row, scores, chosen.seeds, chosen.evaluations, chosen.top)
    with processes(cores()) as pool:
        return list((map if pool is None else pool.map)(work, games(folder)))


def _row(scores: Mapping[str, float], seeds: int, evaluations: int, top: int, game: Game) -> dict[str, Any]:
    best = _feasible_best(game)
    with threadpool_limits(limits=1):
        found = [_kept(game, best, scores, seed, evaluations, top) for seed in range(seeds)]
    kept = {name: [item[name][0] for item in found] for name in ORIGINS}
    sizes = {name: [item[name][1] for item in found] for name in ORIGINS}
    return {
        "limit": game.name,
        "best": len(best),
        "kept": {name: spread(values) for name, values in kept.items()},
        "size": {name: spread(values) for name, values in sizes.items()},
        "difference": {name: paired(kept["learned"], kept[name]) for name in ORIGINS[1:]},
    }


def _feasible_best(game: Game) -> list[Architecture]:
    kept = [
        cell
        for cell in SPACE.enumerate()
        if game.latency_s.get(cell.text, np.inf) <= game.limit_s and SPACE.connected(cell)
    ]
    kept.sort(key=lambda cell: -game.test[cell.text])
    return kept[: max(1, round(_BEST * len(kept)))]


def _kept(
    game: Game, best: Sequence[Architecture], scores: Mapping[str, float], seed: int, evaluations: int, top: int
) -> dict[str, tuple[float, float]]:
    """Return, by origin, the share of the best in the sub-space, and the share of all cells that it has."""
    rng = np.random.default_rng(seed)
    drawn = [SPACE.sample(rng) for _ in range(evaluations)]
    by_score = sorted(drawn, key=lambda cell: -scores.get(cell.text, -np.inf))
    origins = {
        "learned": _learned(game, seed, evaluations, top),
        "training-free": by_score[:top],
        "random": drawn[:top],
    }
    return {name: _share(cells, best) for name, cells in origins.items()}


def _learned(game: Game, seed: int, evaluations: int, top: int) -> list[Architecture]:
    problem = Problem(SPACE.name, (Constraint("latency", game.limit_s),), evaluations, seed)
    searcher = QuantNas(SPACE, problem)
    costs = [TableCost("latency", game.latency_s)]
    study = run_study(searcher, Tabular(SPACE, values=game.objective), costs, problem)
    rewards = {item.architecture: item.reward or 0.0 for item in study.evaluations}
    return sorted(rewards, key=lambda cell: -rewards[cell])[:top]


def _share(cells: Sequence[Architecture], best: Sequence[Architecture]) -> tuple[float, float]:
    allowed = [set(choices) for choices in zip(*(cell.decisions for cell in cells), strict=True)]
    inside = sum(all(item in own for item, own in zip(cell.decisions, allowed, strict=True)) for cell in best)
    return inside / len(best), prod(map(len, allowed)) / prod(SPACE.cardinalities)


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"{'':16}" + "".join(f"{name:>30}" for name in ORIGINS) + f"{'learned - random [95 %]':>30}"]
    for row in rows:
        cells = "".join(f"{_cell(row, name):>30}" for name in ORIGINS)
        found = row["difference"]["random"]
        lines.append(f"{row['limit']:16}{cells}{found['mean']:+10.3f} [{found['lower']:+.3f}, {found['upper']:+.3f}]")
    return "\n".join(["share of the feasible top 1 % kept ± sd, share of all cells in the sub-space", *lines])


def _cell(row: Mapping[str, Any], name: str) -> str:
    kept, size = row["kept"][name], row["size"][name]
    return f"{kept['mean']:.3f}±{kept['sd'] or 0:.3f} {size['mean']:.3f}"


if __name__ == "__main__":
    raise SystemExit(main())
