"""How far the skip connections of a network reach.

The idea is that of the skip metric of Cavagnero, Robbiano, Caputo and Averta, "FreeREA: Training-Free Evolution-Based
Architecture Search" (WACV 2023): networks with long skip connections train well, and indicators of expressivity do not
see it. They take the mean length of the skip edges of a cell by the numbers of its nodes. Here it is a property of
the graph of any space, the same for everything isomorphic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from search_spaces._graph import Call, Graph, Operator
from searchers.evaluators.zero_cost._base import Build, Indicator

#: What makes a network deeper.
_LAYERS = {"conv2d", "linear", "avg_pool2d", "max_pool2d"}


class SkipSpan(Indicator):
    """The mean share of the network's layers that a skip connection bridges, 0 without any.

    Layers are counted on the longest path. A skip connection is a term of a sum that another term was computed from;
    a sum of sums is one sum.
    """

    cost = "a walk over the graph, 0.3 ms"
    proxy: ClassVar[Mapping[str, Any]] = {"depth": 1}

    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return the share."""
        live = graph.live()
        tensors = {"input": _Tensor()}
        spans: list[int] = []
        for call in live.calls:
            made = _made(call, [tensors[name] for name in call.inputs])
            spans += [made.depth - term.depth for term in made.skips]
            tensors[call.name] = made
        depth = tensors[live.output].depth
        return sum(spans) / len(spans) / depth if spans and depth else 0.0


@dataclass(frozen=True, eq=False)
class _Tensor:
    """A tensor: layers on the longest path to it, what it was computed from, and its terms where it is a sum."""

    depth: int = 0
    ancestors: frozenset[_Tensor] = frozenset()
    terms: tuple[_Tensor, ...] = ()

    @property
    def skips(self) -> list[_Tensor]:
        """Return the terms that another term was computed from."""
        return [term for term in self.terms if any(term in other.ancestors for other in self.terms)]


def _made(call: Call, inputs: Sequence[_Tensor]) -> _Tensor:
    """Return the output of a call."""
    known = {f"in{i}": item for i, item in enumerate(inputs)}
    made = _Tensor()
    for operator in call.block.operators:
        # Of a live graph's sums constant terms are gone.
        taken = [known[name] for name in operator.inputs if name in known]
        terms = [term for item in taken for term in item.terms or (item,)]
        made = _Tensor(
            max((item.depth for item in taken), default=0) + _is_layer(operator),
            frozenset(taken).union(*(item.ancestors for item in taken)),
            tuple(terms) if operator.kind == "add" else (),
        )
        known[operator.name] = made
    return made


def _is_layer(operator: Operator) -> bool:
    return operator.kind in _LAYERS or (operator.traced is not None and operator.traced.macs > 0)
