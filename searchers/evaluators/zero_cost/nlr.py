"""Number of linear regions: how many different activation patterns an untrained network has.

Source: Tran and Bae (JBE 26(7), 2021) after TE-NAS (Chen et al., ICLR 2021), who count the patterns of 3,000 random
pictures in a network without stem and reductions. In a whole network the patterns of any two pictures differ, and the
count would be the number of pictures. So regions are counted along a path, as Hanin and Rolnick ("Complexity of Linear
Regions in Deep Networks", ICML 2019) do: straight from picture to picture. The score is the mean of several networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor

from hilnas.errors import UsageError
from search_spaces._graph import Graph
from searchers.evaluators.zero_cost._base import Build
from searchers.evaluators.zero_cost._torch import BatchIndicator, watched


@dataclass(frozen=True, kw_only=True)
class Nlr(BatchIndicator):
    """Different patterns of the ReLUs that matter for the output, at equidistant points of a path through a batch."""

    cost = "a forward pass of a large batch through a thin network, for each of its repeats"
    proxy: ClassVar[Mapping[str, Any]] = {"depth": 1, "width": 1, "resolution": 8}

    batch: int = 2
    points: int = 1000
    repeats: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.points < 2 or self.repeats < 1:
            raise UsageError("nlr needs two points and one network at least")

    def score(self, graph: Graph, build: Build | None = None) -> float:
        """Return the mean number of regions."""
        return fmean(self._regions(graph, build, self.seed + i) for i in range(self.repeats))

    def path(self, graph: Graph) -> Tensor:
        """Return the points of the path, shape (points, channels, height, width)."""
        inputs = self.inputs_of(graph)
        place = torch.linspace(0.0, self.batch - 1.0, self.points).to(inputs)
        start = place.long().clamp_max(self.batch - 2)
        share = (place - start).reshape(-1, *[1] * (inputs.ndim - 1))
        return torch.lerp(inputs[start], inputs[start + 1], share)

    def _regions(self, graph: Graph, build: Build | None, seed: int) -> int:
        patterns = _Patterns(self.points, seed)
        with self.reproducible(seed), torch.no_grad():
            module = self.untrained(graph, build, seed)
            with watched(module, graph, patterns.add):
                module(self.path(graph))
        return patterns.count()


class _Patterns:
    """Counts different activation patterns without keeping them: by two random weighted sums over each.

    Weights are whole numbers below 2^30, so the sums of up to 2^23 codes are exact in double precision and do not
    depend on the order; two patterns share both by chance once in 2^60.
    """

    def __init__(self, n: int, seed: int) -> None:
        self._sums = torch.zeros((n, 2), dtype=torch.int64)
        self._generator = torch.Generator().manual_seed(seed)

    def add(self, output: Tensor) -> None:
        """Add the codes of the outputs of one ReLU."""
        codes = (output > 0).flatten(1).double()
        weights = torch.randint(1 << 30, (codes.shape[1], 2), generator=self._generator).to(codes)
        self._sums += (codes @ weights).cpu().long()

    def count(self) -> int:
        """Return the number of different patterns."""
        return len(torch.unique(self._sums, dim=0))
