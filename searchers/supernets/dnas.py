"""DNAS: differentiable search in the whole space, with all its candidates side by side."""

from __future__ import annotations

from hilnas.errors import Infeasible
from searchers._children import described
from searchers.supernets._layers import Bench, LayerSearcher


class Dnas(LayerSearcher):
    """Trains the supernet of the whole space, if it fits the memory."""

    limited = True

    def _search(self, bench: Bench) -> None:
        whole = bench.trained_space.whole()
        if bench.predictable:
            bench.require(whole)
        found = bench.finish(bench.start(whole, "whole"), "searched", 0.9, whole)
        if found.out_of_memory:
            raise Infeasible(
                "the memory does not suffice for the supernet of the whole space",
                found.cause or "",
                "Search with radars, raise --memory, or train less at once: --set batch=32, --set width=8",
            )
        if found.architecture is not None:
            bench.note("derived", 1.0, {"kind": "derived", **described(bench.fully(found.architecture))})
