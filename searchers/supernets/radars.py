"""RADARS: reinforcement learning prunes the space until its supernet fits the memory, then DNAS searches what is left.

Source: RADARS (Yan et al., 2022), Algorithm 1. Line 13 is read over the retrained networks: over all of R it would mix
rewards of short and of full trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._chain import Merging, merge
from search_spaces._sub_space import SubSpace
from searchers._children import Candidate, described
from searchers._exploitation import Running
from searchers.supernets._base import Task
from searchers.supernets._exploration import Explorer
from searchers.supernets._layers import Bench

_UNBOUNDED = (
    "merge=factor: supernets may take more memory than top times that of a single network; --memory bounds them still"
)


class Radars(Explorer):
    """Explores, merges and exploits in turn.

    The `top` networks are merged, best first, while the supernet fits. merge: tuple, or factor (as in the authors'
    code: all combinations of what they decide; supernets grow faster than by one path a network). parallel: the next
    exploration runs beside a differentiable search. fault_bytes: memory that is taken away from the first of these, to
    see that the search goes on.
    """

    limited = True

    def __init__(
        self, task: Task, *, merge: str = "tuple", parallel: bool = False, fault_bytes: int = 0, **options: Any
    ) -> None:
        super().__init__(task, **options)
        if merge not in ("tuple", "factor") or fault_bytes < 0:
            raise UsageError("radars needs merge=tuple or merge=factor, and fault_bytes not below 0")
        self._merge: Merging = "factor" if merge == "factor" else "tuple"
        self._parallel, self._fault = parallel, fault_bytes

    def _search(self, bench: Bench) -> None:
        bench.require_one()
        explored: dict[Architecture, Candidate] = {}
        controller = self._controller()
        pending: _Merged | None = None
        for number in self._numbers(bench):
            self._explore(bench, controller, explored, number)
            if pending is not None:
                self._exploited(bench, pending)
            pending = self._merged(bench, self._promising(bench, explored, number), number)
            if pending is not None and not self._parallel:
                self._exploited(bench, pending)
                pending = None
        if pending is not None:
            self._exploited(bench, pending)

    def _merged(self, bench: Bench, promising: Sequence[Candidate], number: int) -> _Merged | None:
        """Merge networks, best first, as long as the supernet fits, and start to search it; None without networks.

        A network that does not fit alone is passed over.
        """
        kept: list[Architecture] = []
        for item in promising:
            if bench.fits(merge(self._space, [*kept, item.architecture], self._merge)):
                kept.append(item.architecture)
            elif kept:
                break
        if promising and not kept:
            raise bench.too_small(merge(self._space, [promising[0].architecture], self._merge))
        return self._started(bench, kept, number, 1) if kept else None

    def _started(self, bench: Bench, kept: list[Architecture], number: int, attempt: int) -> _Merged:
        sub = merge(self._space, kept, self._merge)
        fault = self._fault if (number, attempt) == (1, 1) else 0
        found = _Merged(kept, sub, number, attempt, bench.start(sub, f"round{number}-{attempt}", fault))
        values = {"kind": "merged", "networks": len(kept), "candidates": sub.candidates, **sub.to_json()}
        if self._merge == "factor":
            values["remark"] = _UNBOUNDED
        bench.note(found.name("merged"), (number - 0.25) / self._rounds, values)
        return found

    def _exploited(self, bench: Bench, merged: _Merged) -> None:
        """Wait for a differentiable search and train what it derives; with too little memory search a smaller one."""
        share = merged.number / self._rounds
        found = bench.finish(merged.running, merged.name("searched"), share, merged.sub)
        if found.architecture is not None:
            best = bench.fully(found.architecture)
            bench.note(merged.name("derived"), share, {"kind": "derived", **described(best)})
        elif found.out_of_memory and len(merged.kept) > 1:
            self._exploited(bench, self._started(bench, merged.kept[:-1], merged.number, merged.attempt + 1))


@dataclass(frozen=True)
class _Merged:
    """A sub-space that is being searched, and the networks it was made of."""

    kept: list[Architecture]
    sub: SubSpace
    number: int
    attempt: int
    running: Running

    def name(self, what: str) -> str:
        """Return the name of an event of this search."""
        again = "" if self.attempt == 1 else f" (attempt {self.attempt})"
        return f"round {self.number}, {what}{again}"
