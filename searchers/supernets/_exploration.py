"""What RADARS and QuantNAS share: a controller draws networks, learns from short trainings, and the best are retrained.

Source: RADARS (Yan et al., 2022), Algorithm 1, lines 7 to 11.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hilnas.errors import UsageError
from hilnas.records import Architecture, Constraint
from searchers._children import Candidate, best_first, described
from searchers._problem import Evaluation, Problem
from searchers.quantnas import QuantNas
from searchers.supernets._base import Task
from searchers.supernets._layers import Bench, LayerSearcher


class Explorer(LayerSearcher):
    """Explores in rounds.

    episodes: short trainings of a round, drawn `samples` at a time. top: the best of all so far that are trained fully
    after each round. target: the reward that ends the search (0: none). controller_rate: of its SGD.
    """

    def __init__(
        self,
        task: Task,
        *,
        rounds: int = 3,
        episodes: int = 10,
        samples: int = 5,
        top: int = 6,
        target: float = 0.0,
        controller_rate: float = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(task, **options)
        if min(rounds, episodes, samples, top) < 1 or controller_rate <= 0:
            raise UsageError("a search in rounds needs counts of at least 1, and a rate of the controller above 0")
        self._rounds, self._episodes, self._samples, self._top = rounds, episodes, samples, top
        self._target, self._rate = target, controller_rate

    def _controller(self) -> QuantNas:
        limits = (Constraint(self._model.metric, self._gamma),)
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
        done = 0
        while done < self._episodes:
            evaluations = []
            for architecture in controller.suggest(min(self._samples, self._episodes - done)):
                done += 1
                found = explored[architecture] = bench.shortly(architecture)
                share = (number - 1 + 0.5 * done / self._episodes) / self._rounds
                bench.note(f"round {number}, episode {done}", share, {"kind": "episode", **described(found)})
                costs = {self._model.metric: found.cost}
                score = None if found.cause else 100 * found.accuracy
                evaluations.append(Evaluation(architecture, score, costs, costs, False, found.cause))
            controller.update(evaluations)

    def _promising(self, bench: Bench, explored: dict[Architecture, Candidate], number: int) -> list[Candidate]:
        """Train the best of all fully, each once, and return those that could be, by what they are worth.

        All are what was explored and what was derived; a full training replaces what a short one has told.
        """
        known = [item for item in {**explored, **bench.full}.values() if item.cause is None]
        chosen = best_first(known)[: self._top]
        for i, item in enumerate(chosen):
            found = bench.fully(item.architecture)
            share = (number - 0.5 + 0.25 * i / self._top) / self._rounds
            bench.note(f"round {number}, network {i + 1}", share, {"kind": "retrained", **described(found)})
        retrained = [bench.full[item.architecture] for item in chosen]
        return best_first([item for item in retrained if item.cause is None])

    def _numbers(self, bench: Bench) -> Iterator[int]:
        """Return the numbers of the rounds, until one has reached the target."""
        for number in range(1, self._rounds + 1):
            yield number
            if self._target and any(item.reward >= self._target for item in bench.good):
                break
