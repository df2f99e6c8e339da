"""RADARS against its baselines, on pictures: time, fronts, memory, and what its sub-spaces are worth.

`--part game`: the time until QuantNAS and random search have a network of RADARS' final reward, stopped at --stop times
RADARS' own, and the hypervolume of (error, cost) of every method's fully trained networks when RADARS ends.
`--part bounds`: RADARS under 1/4 to 1/32 of the memory that the supernet of the whole space is predicted to take.
`--part sub-spaces`: the same differentiable search in sub-spaces merged from the best networks of reinforcement
learning, from random ones, and from the best of a training-free score. `--part types`: memory as more is searched.
`--part parallel`: RADARS' time with the next exploration beside each differentiable search, over that without.
Networks of every method are trained fully by the same quantisation-aware schedule.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._fronts import hypervolume, paired, spread
from benchmarks._radars_charts import CHARTS, drawn
from benchmarks._radars_goal import Events, Goal, trained
from hilnas import plugins
from hilnas.errors import Infeasible
from hilnas.output import answer
from predictors._trials import cores
from search_spaces._chain import merge
from search_spaces._sub_space import SubSpace
from search_spaces.quantised_cnn import QuantisedCnn
from searchers._children import Candidate, best_first, described
from searchers._exploitation import predicted_bytes
from searchers.evaluators.zero_cost import ZeroCost
from searchers.supernets._base import GradientSearcher, Pictures, Task
from searchers.supernets._layers import Bench, LayerSearcher

PACKAGE = "searchers.supernets"
SHARES = (4, 8, 16, 32)
#: An accuracy (percent) that ten classes reach by chance, or hardly more: the sample is dead.
_DEAD = 15.0
#: What QuantNAS knows nothing of.
EXPLOITING = ("rounds", "dnas_epochs", "relax", "share_rate", "common", "sweeps", "merge", "parallel")
_ZERO_COST, _DRAWN = "nwot", 100


class Stopped(Exception):
    """A search has run long enough."""


def main() -> int:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=list(PARTS), default="game")
    parser.add_argument("--data", help="folder of pictures  [default: digits]")
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--resolution", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed")
    parser.add_argument("--stop", type=float, default=10.0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="option of radars")
    parser.add_argument("--draw", type=Path, metavar="FILE.svg", help="draw what was found")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    if chosen.draw is not None and chosen.part not in CHARTS:
        parser.error(f"of {chosen.part} nothing is drawn; leave --draw out")
    settings = {name: value for name, value in vars(chosen).items() if name != "draw"}
    values = {"part": chosen.part, "settings": settings, **PARTS[chosen.part](chosen)}
    if chosen.draw is not None:
        chosen.draw.write_text(drawn(values), encoding="utf-8")
    print(json.dumps(answer(values, 0), indent=2) if chosen.json else _text(values))
    return 0


def _task(chosen: argparse.Namespace, seed: int, filters: int = 0) -> Task:
    space = QuantisedCnn(width=chosen.width, resolution=chosen.resolution, filters=filters)
    pictures = Pictures(Path(chosen.data) if chosen.data else None, chosen.images)
    classes = pictures.at(space.input_shape).classes
    return Task(QuantisedCnn(**{**space.options, "classes": classes}), {}, pictures, {}, {}, seed=seed)


def _options(chosen: argparse.Namespace) -> dict[str, Any]:
    pairs = (item.partition("=") for item in chosen.set)
    return {name: int(value) if value.isdecimal() else value for name, _, value in pairs}


def _seeds(chosen: argparse.Namespace) -> range:
    return range(chosen.first, chosen.first + chosen.seeds)


def _for_seeds(work: Callable[[argparse.Namespace, int], Any], chosen: argparse.Namespace) -> list[Any]:
    """Return what each seed gives, as many at once as there are cores."""
    with ProcessPoolExecutor(min(cores(), chosen.seeds), get_context("spawn")) as pool:
        return list(pool.map(partial(work, chosen), _seeds(chosen)))


def run_one(
    name: str, task: Task, options: Mapping[str, Any], enough: Callable[[Events], bool] = lambda events: False
) -> Events:
    """Return the events of a search, until there are enough; a search that is refused has none."""
    torch.set_num_threads(1)
    events: list[Mapping[str, Any]] = []

    def report(values: Mapping[str, Any], share: float) -> None:
        events.append(values)
        if enough(events):
            raise Stopped

    kind = plugins.load(PACKAGE, name, GradientSearcher)
    with tempfile.TemporaryDirectory() as folder, suppress(Stopped, Infeasible):
        kind(task, **options).run(Path(folder), report)
    return events


def game(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return times to RADARS' reward and hypervolumes at its end, a row a seed."""
    rows = _for_seeds(_play, chosen)
    methods = list(rows[0]["methods"])
    slower = {name: [row["methods"][name]["slower"] for row in rows] for name in methods}
    return {
        "rows": rows,
        "slower": {name: spread(values) for name, values in slower.items()},
        "not_reached": {name: sum(row["methods"][name]["not_reached"] for row in rows) for name in methods},
        "hypervolume": {name: spread([row["methods"][name]["hypervolume"] for row in rows]) for name in methods},
        "difference": {
            name: paired(
                [row["methods"]["radars"]["hypervolume"] for row in rows],
                [row["methods"][name]["hypervolume"] for row in rows],
            )
            for name in methods
        },
    }


def _play(chosen: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Play with a quarter of the memory that DNAS is predicted to need."""
    free, options = _task(chosen, seed), _options(chosen)
    task = replace(free, memory_bytes=_whole_bytes(free) // 4)
    events = {"radars": run_one("radars", task, options)}
    best = max(trained(events["radars"]), key=lambda item: float(item["reward"]))
    goal = Goal(best["reward"], best["elapsed_s"], events["radars"][-1]["elapsed_s"], chosen.stop)
    shared = {name: value for name, value in options.items() if name not in EXPLOITING}
    searching = {name: value for name, value in shared.items() if name in ("short_epochs", "full_epochs", "batch")}
    events["quantnas"] = run_one("quantnas", task, {**shared, "rounds": 10_000}, goal.enough)
    events["random_search"] = _random(task, searching, goal.enough)
    events["one_shot"] = run_one("one_shot", task, searching)
    events["one_shot, as published"] = run_one("one_shot", free, {**searching, "common": False, "sweeps": 0})
    events["dnas"] = run_one("dnas", task, searching)
    reference = _reference(task)
    methods = {name: _figures(found, goal, reference) for name, found in events.items()}
    return {"seed": seed, "goal": asdict(goal), "methods": methods}


def _figures(events: Events, goal: Goal, reference: float) -> dict[str, Any]:
    found = trained(events)
    slower = goal.slower(events)
    by_end = [(100 - item["accuracy"], item["cost"]) for item in found if item["elapsed_s"] <= goal.end_s]
    return {
        "networks": len(found),
        "elapsed_s": events[-1]["elapsed_s"] if events else None,
        "slower": goal.stop if slower is None else slower,
        "not_reached": slower is None,
        "hypervolume": hypervolume(by_end, (100.0, reference)) / (100.0 * reference),
        "best": max((item["reward"] for item in found), default=None),
        "front": sorted(by_end),
    }


def _random(task: Task, options: Mapping[str, Any], enough: Callable[[Events], bool]) -> Events:
    """Return the events of random networks, each trained fully."""
    rng = np.random.default_rng(task.seed)
    events: list[Mapping[str, Any]] = []
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(_Plain(task, **options), Path(folder), lambda values, share: events.append(values))
        while not events or not enough(events):
            found = bench.fully(task.space.sample(rng))
            bench.note(f"network {len(events)}", 0.0, {"kind": "retrained", **described(found)})
    return events


class _Plain(LayerSearcher):
    """A search that is driven from outside."""


def _reference(task: Task) -> float:
    rng = np.random.default_rng(0)
    costs = _Plain(task)._model.costs([task.space.sample(rng) for _ in range(200)])
    return float(np.quantile([item.value for item in costs if item.value is not None], 0.9))


def _whole_bytes(task: Task) -> int:
    space = task.trained_space()
    assert isinstance(space, QuantisedCnn)
    return predicted_bytes(space, space.whole(), 64, common=True)


def bounds(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what RADARS does under parts of the memory of the whole space's supernet."""
    whole = _whole_bytes(_task(chosen, 0))
    with ProcessPoolExecutor(cores(), get_context("spawn")) as pool:
        jobs = [(share, seed) for share in SHARES for seed in _seeds(chosen)]
        found = list(pool.map(partial(_bounded, chosen, whole), jobs))
    rows = []
    for share in SHARES:
        own = [item for item in found if item["share"] == share]
        built = [one for item in own for one in item["built"]]
        rows.append(
            {
                "share": share,
                "bound_bytes": whole // share,
                "accuracy": spread([item["accuracy"] for item in own]),
                "reward": spread([item["reward"] for item in own]),
                "networks_merged": spread([float(n) for item in own for n in item["merged"]]),
                "built": len(built),
                "above": sum(peak > whole // share for _, peak in built),
                "most_of_bound": max((peak / (whole // share) for _, peak in built), default=None),
                "peak_over_predicted": spread([peak / predicted for predicted, peak in built]),
                "out_of_memory": sum(item["out_of_memory"] for item in own),
                "dead": spread([item["dead"] for item in own]),
                "refused": sum(item["refused"] for item in own),
            }
        )
    return {"whole_bytes": whole, "rows": rows, "searches": found}


def _bounded(chosen: argparse.Namespace, whole: int, job: tuple[int, int]) -> dict[str, Any]:
    share, seed = job
    task = replace(_task(chosen, seed), memory_bytes=whole // share)
    events = run_one("radars", task, _options(chosen))
    best = max(trained(events), key=lambda item: float(item["reward"]), default=None)
    episodes = [item for item in events if item.get("kind") == "episode"]
    searched = [item for item in events if "peak_bytes" in item]
    return {
        "share": share,
        "seed": seed,
        "accuracy": None if best is None else best["accuracy"],
        "reward": None if best is None else best["reward"],
        "cost": None if best is None else best["cost"],
        "merged": [item["networks"] for item in events if item.get("kind") == "merged"],
        "built": [(item["predicted_bytes"], item["peak_bytes"]) for item in searched],
        "out_of_memory": sum(item["out_of_memory"] for item in searched),
        "dead": sum(item["accuracy"] <= _DEAD for item in episodes) / max(1, len(episodes)),
        "refused": not searched,
    }


def sub_spaces(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the reward of the same differentiable search in sub-spaces of three origins."""
    rows = _for_seeds(_compared, chosen)
    origins = list(rows[0]["reward"])
    return {
        "rows": rows,
        "reward": {name: spread([row["reward"][name] for row in rows]) for name in origins},
        "accuracy": {name: spread([row["accuracy"][name] for row in rows]) for name in origins},
        "difference": {
            name: paired([row["reward"]["learned"] for row in rows], [row["reward"][name] for row in rows])
            for name in origins
            if name != "learned"
        },
    }


def _compared(chosen: argparse.Namespace, seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    task, options = _task(chosen, seed), _options(chosen)
    radars = plugins.load(PACKAGE, "radars", GradientSearcher)(task, **options)
    top, episodes = options.get("top", 6), options.get("episodes", 10)
    rng = np.random.default_rng(1000 + seed)
    drawn = [task.space.sample(rng) for _ in range(_DRAWN)]
    scores = ZeroCost(task.space, indicator=_ZERO_COST).evaluate(drawn)
    best = sorted(range(_DRAWN), key=lambda i: -scores[i].value)[:top]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(radars, Path(folder), lambda values, share: None)  # type: ignore[arg-type]
        explored: dict[Any, Candidate] = {}
        radars._explore(bench, radars._controller(), explored, 1)  # type: ignore[attr-defined]
        learned = best_first(list(explored.values()))[:top]
        origins = {
            "learned": [item.architecture for item in learned],
            "random": [task.space.sample(rng) for _ in range(top)],
            "training-free": [drawn[i] for i in best],
        }
        found = {}
        for name, architectures in origins.items():
            sub = merge(bench.trained_space, architectures, "tuple")
            result = bench.finish(bench.start(sub, name), name, 0.0, sub)
            found[name] = None if result.architecture is None else bench.fully(result.architecture)
    return {
        "seed": seed,
        "episodes": episodes,
        "reward": {name: None if item is None else item.reward for name, item in found.items()},
        "accuracy": {name: None if item is None else 100 * item.accuracy for name, item in found.items()},
        "cost": {name: None if item is None else item.cost for name, item in found.items()},
    }


def types(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return predicted and measured memory of supernets of ever more that is searched, and of six merged networks."""
    task = _task(chosen, 0, filters=1)
    space = task.trained_space()
    assert isinstance(space, QuantisedCnn)
    whole = space.whole()
    largest = whole.layers[0][-1]
    kinds = {"kernel": 1, "+ activation bits": 3, "+ weight bits": 5, "+ channels": 6}
    rng = np.random.default_rng(0)
    rows = []
    for name, decisions in kinds.items():
        layers = tuple(
            tuple(item for item in candidates if item[decisions:] == largest[decisions:]) for candidates in whole.layers
        )
        few = [space.of_layers(own[int(rng.integers(len(own)))] for own in layers) for _ in range(6)]
        merged = merge(space, few, "tuple")
        rows.append({"searched": name, **_sizes(task, SubSpace(layers), "dnas"), **_sizes(task, merged, "radars")})
    return {"rows": rows}


def _sizes(task: Task, sub: SubSpace, name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(_Plain(task, dnas_epochs=1), Path(folder), lambda values, share: None)
        found = bench.finish(bench.start(sub, "built"), "built", 0.0, sub)
        predicted = bench.predicted(sub)
    return {
        f"{name}_candidates": sub.candidates,
        f"{name}_predicted_bytes": predicted,
        f"{name}_peak_bytes": found.peak_bytes,
        f"{name}_cause": found.cause,
    }


def parallel(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return how long RADARS takes, and what it finds, in sequence and in parallel; one search runs at a time."""
    rows = []
    for seed in _seeds(chosen):
        both = [False, True] if seed % 2 else [True, False]
        found = {
            beside: run_one("radars", _task(chosen, seed), {**_options(chosen), "parallel": beside}) for beside in both
        }
        rows.append(
            {
                "sequence_s": found[False][-1]["elapsed_s"],
                "parallel_s": found[True][-1]["elapsed_s"],
                "sequence_reward": max(item["reward"] for item in trained(found[False])),
                "parallel_reward": max(item["reward"] for item in trained(found[True])),
            }
        )
    ratios = [row["sequence_s"] / row["parallel_s"] for row in rows]
    return {"rows": rows, "faster": spread(ratios), "range": [min(ratios), max(ratios)]}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "game": game,
    "bounds": bounds,
    "sub-spaces": sub_spaces,
    "types": types,
    "parallel": parallel,
}


def _text(values: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in values.items() if name not in ("searches",)}
    if values["part"] in ("game", "sub-spaces"):
        kept.pop("rows")
    return json.dumps(kept, indent=1)


if __name__ == "__main__":
    raise SystemExit(main())
