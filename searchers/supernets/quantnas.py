"""QuantNAS on pictures: the controller of RADARS alone, which trains every network that it draws."""

from __future__ import annotations

from hilnas.records import Architecture
from searchers._children import Candidate
from searchers.supernets._exploration import Explorer
from searchers.supernets._layers import Bench


class QuantNas(Explorer):
    """Explores for all its episodes; the `top` best are trained fully after every round, and nothing is merged."""

    limited = True
    bounded = False

    def _search(self, bench: Bench) -> None:
        controller = self._controller()
        explored: dict[Architecture, Candidate] = {}
        for number in self._numbers(bench):
            self._explore(bench, controller, explored, number)
            self._promising(bench, explored, number)
