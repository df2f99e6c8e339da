"""Indicators as their definitions are written down: one backward pass an input, one comparison a ReLU."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from statistics import fmean

import torch

from search_spaces._graph import Graph
from searchers.evaluators.zero_cost._base import Indicator
from searchers.evaluators.zero_cost._correlation import count_score, eigen_score
from searchers.evaluators.zero_cost._torch import watched
from searchers.evaluators.zero_cost.cj import Cj
from searchers.evaluators.zero_cost.cnntk import Cnntk, eigenvalue_ratio, weights_of
from searchers.evaluators.zero_cost.nlr import Nlr


def plain_cj(indicator: Cj, graph: Graph) -> float:
    """Return the score by a backward pass for each input."""
    with indicator.reproducible(indicator.seed):
        module = indicator.untrained(graph, None, indicator.seed).requires_grad_(False)
        leaves = [row[None].clone().requires_grad_(True) for row in indicator.samples(graph)]
        total = module(torch.cat(leaves)).sum()
        rows = [torch.autograd.grad(total, leaf, retain_graph=True)[0].flatten() for leaf in leaves]
        correlation = torch.corrcoef(torch.stack(rows).double())
    return eigen_score(correlation) if indicator.variant == "eigen" else count_score(correlation, indicator.beta)


def plain_cnntk(indicator: Cnntk, graph: Graph) -> float:
    """Return the score by a backward pass for each input."""
    return fmean(_plain_ratio(indicator, graph, indicator.seed + i) for i in range(indicator.repeats))


def _plain_ratio(indicator: Cnntk, graph: Graph, seed: int) -> float:
    with indicator.reproducible(seed):
        module = indicator.untrained(graph, None, seed)
        outputs = module(indicator.inputs_of(graph)).sum(1)
        weights = weights_of(module)
        rows = [torch.autograd.grad(output, weights, retain_graph=True) for output in outputs]
        return eigenvalue_ratio(torch.stack([torch.cat([item.flatten() for item in row]) for row in rows]))


def plain_nlr(indicator: Nlr, graph: Graph) -> float:
    """Return the score by comparing the activation pattern of each point with that of the one before."""
    return fmean(_plain_regions(indicator, graph, indicator.seed + i) for i in range(indicator.repeats))


def _plain_regions(indicator: Nlr, graph: Graph, seed: int) -> int:
    layers: list[list[list[bool]]] = []
    with indicator.reproducible(seed), torch.no_grad():
        module = indicator.untrained(graph, None, seed)
        with watched(module, graph, lambda output: layers.append((output > 0).flatten(1).tolist())):
            module(indicator.path(graph))
    distinct = [layer for i, layer in enumerate(layers) if layer not in layers[:i]]
    return 1 + sum(
        sum(a != b for a, b in zip(now, before, strict=True))
        for layer in distinct
        for before, now in itertools.pairwise(layer)
    )


#: Plain forms by the name of the indicator.
PLAIN: Mapping[str, Callable[..., float]] = {"cj": plain_cj, "cnntk": plain_cnntk, "nlr": plain_nlr}


def plain_score(name: str, indicator: Indicator, graph: Graph) -> float:
    """Return the score of an indicator by its plain form."""
    return PLAIN[name](indicator, graph)
