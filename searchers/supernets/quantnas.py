"""QuantNAS on pictures: the controller of RADARS alone, which trains every network that it draws."""

from __future__ import annotations

from typing import Any

from hilnas.records import Architecture
from searchers.supernets._base import Task
from searchers.supernets._layers import Bench, Candidate
from searchers.supernets.radars import Radars


class QuantNas(Radars):
    """Explores for all its episodes; the `top` best are trained fully after every round, and nothing is merged."""

    def __init__(self, task: Task, *, rounds: int = 3, episodes: int = 10, **options: Any) -> None:
        super().__init__(task, rounds=rounds, episodes=episodes, **options)

    def _search(self, bench: Bench) -> None:
        controller = self._controller()
        explored: dict[Architecture, Candidate] = {}
        for number in range(1, self._rounds + 1):
            self._explore(bench, controller, explored, number)
            promising = self._promising(bench, explored, number)
            if self._target and promising[0].reward >= self._target:
                break
