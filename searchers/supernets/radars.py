"""RADARS: reinforcement learning prunes the space until its supernet fits the memory, then DNAS searches what is left.

Source: RADARS (Yan et al., 2022), Algorithm 1. Line 13 is read over the retrained networks: over all of R it would mix
rewards of short and of full trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hilnas.errors import Infeasible, UsageError
from hilnas.records import Architecture, Constraint
from search_spaces._chain import Merging, merge
from search_spaces._sub_space import SubSpace
from searchers._exploitation import Exploited, Running
from searchers._problem import Evaluation, Problem
from searchers.quantnas import QuantNas
from searchers.supernets._base import Task
from searchers.supernets._layers import Bench, Candidate, LayerSearcher, best_first, described


class Radars(LayerSearcher):
    """Explores, merges and exploits in turn.

    rounds: of both. episodes: short trainings of a round, drawn `samples` at a time. top: the best of all so far that
    are trained fully and merged, best first, while the supernet fits. merge: tuple, or factor (as in the authors' code;
    its supernets grow faster than by one path a network). target: the reward that ends the search (0: none). parallel:
    the next exploration runs beside a differentiable search. fault_bytes: memory that is taken away from the first
    differentiable search, to see that the search goes on.
    """

    limited = True

    def __init__(
        self,
        task: Task,
        *,
        rounds: int = 3,
        episodes: int = 10,
        samples: int = 5,
        top: int = 6,
        merge: str = "tuple",
        target: float = 0.0,
        parallel: bool = False,
        controller_rate: float = 0.2,
        fault_bytes: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(task, **options)
        if min(rounds, episodes, samples, top) < 1 or merge not in ("tuple", "factor") or fault_bytes < 0:
            raise UsageError("radars needs counts of at least 1, and merge=tuple or merge=factor")
        self._rounds, self._episodes, self._samples, self._top = rounds, episodes, samples, top
        self._merge: Merging = "factor" if merge == "factor" else "tuple"
        self._target, self._parallel, self._rate, self._fault = target, parallel, controller_rate, fault_bytes

    def _search(self, bench: Bench) -> None:
        explored: dict[Architecture, Candidate] = {}
        controller = self._controller()
        pending: _Merged | None = None
        for number in range(1, self._rounds + 1):
            self._explore(bench, controller, explored, number)
            if pending is not None:
                self._exploited(bench, pending)
            pending = self._merged(bench, self._promising(bench, explored, number), number)
            if not self._parallel:
                self._exploited(bench, pending)
                pending = None
            if self._target and max(item.reward for item in bench.full.values()) >= self._target:
                break
        if pending is not None:
            self._exploited(bench, pending)

    def _controller(self) -> QuantNas:
        metric = self._model.metric
        limits = (Constraint(metric, self._gamma),)
        problem = Problem(self._space.name, limits, self._rounds * self._episodes, self.task.seed)
        return QuantNas(
            self._space,
            problem,
            samples=self._samples,
            learning_rate=self._rate,
            alpha=self._alpha,
            beta=self._beta,
            gamma=self._gamma,
            scale="percent",
        )

    def _explore(
        self, bench: Bench, controller: QuantNas, explored: dict[Architecture, Candidate], number: int
    ) -> None:
        """Let the controller draw and learn, episode by episode."""
        metric, done = self._model.metric, 0
        while done < self._episodes:
            drawn = controller.suggest(min(self._samples, self._episodes - done))
            evaluations = []
            for architecture in drawn:
                done += 1
                found = explored[architecture] = bench.shortly(architecture)
                share = (number - 1 + 0.5 * done / self._episodes) / self._rounds
                bench.note(f"round {number}, episode {done}", share, {"kind": "episode", **described(found)})
                costs = {metric: found.cost}
                failed = None if found.accuracy else "it could not be trained"
                score = None if failed else 100 * found.accuracy
                evaluations.append(Evaluation(architecture, score, costs, costs, False, failed))
            controller.update(evaluations)

    def _promising(self, bench: Bench, explored: dict[Architecture, Candidate], number: int) -> list[Candidate]:
        """Train the best of all fully, each once, and return them by what they are worth."""
        known = {**explored, **bench.full}
        chosen = best_first(list(known.values()))[: self._top]
        for i, item in enumerate(chosen):
            found = bench.fully(item.architecture)
            share = (number - 0.5 + 0.25 * i / self._top) / self._rounds
            bench.note(f"round {number}, network {i + 1}", share, {"kind": "retrained", **described(found)})
        return best_first([bench.full[item.architecture] for item in chosen])

    def _merged(self, bench: Bench, promising: Sequence[Candidate], number: int) -> _Merged:
        """Merge networks, best first, as long as the supernet fits, and start to search it."""
        kept: list[Architecture] = []
        for item in promising:
            if not bench.fits(merge(self._space, [*kept, item.architecture], self._merge)):
                break
            kept.append(item.architecture)
        if not kept:
            bench.require(merge(self._space, [promising[0].architecture], self._merge))
        return self._started(bench, kept, number, 1)

    def _started(self, bench: Bench, kept: list[Architecture], number: int, attempt: int) -> _Merged:
        sub = merge(self._space, kept, self._merge)
        fault = self._fault if (number, attempt) == (1, 1) else 0
        found = _Merged(kept, sub, number, attempt, bench.start(sub, f"round{number}-{attempt}", fault))
        values = {"kind": "merged", "networks": len(kept), "candidates": sub.candidates, **sub.to_json()}
        bench.note(found.name("merged"), (number - 0.25) / self._rounds, values)
        return found

    def _exploited(self, bench: Bench, merged: _Merged) -> Exploited:
        """Wait for a differentiable search and train what it derives; with too little memory search a smaller one."""
        found = bench.finish(merged.running, merged.name("searched"), merged.number / self._rounds, merged.sub)
        if found.architecture is not None:
            best = bench.fully(found.architecture)
            values = {"kind": "derived", **described(best)}
            bench.note(merged.name("derived"), merged.number / self._rounds, values)
        elif found.out_of_memory and len(merged.kept) > 1:
            smaller = self._started(bench, merged.kept[:-1], merged.number, merged.attempt + 1)
            return self._exploited(bench, smaller)
        elif found.out_of_memory:
            raise Infeasible(
                "the memory does not suffice for a single network",
                found.cause or "",
                "Raise --memory, or --set batch=32",
            )
        return found


class _Merged:
    """A sub-space that is being searched, and the networks it was made of."""

    def __init__(self, kept: list[Architecture], sub: SubSpace, number: int, attempt: int, running: Running) -> None:
        self.kept, self.sub, self.number, self.attempt, self.running = kept, sub, number, attempt, running

    def name(self, what: str) -> str:
        """Return the name of an event of this search."""
        again = "" if self.attempt == 1 else f" (attempt {self.attempt})"
        return f"round {self.number}, {what}{again}"
