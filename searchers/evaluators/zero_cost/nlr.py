"""Number of linear regions: into how many linear pieces an untrained network cuts its input.

Source: Tran and Bae (JBE 26(7), 2021) after TE-NAS (Chen et al., ICLR 2021), who count the activation patterns of 3,000
random pictures in a network without stem and reductions. In a whole network the patterns of any two pictures differ,
and the count would be the number of pictures. So regions are counted as Hanin and Rolnick ("Complexity of Linear
Regions in Deep Networks", ICML 2019) do, on the way straight from one picture to another: one, and one more wherever a
ReLU switches. What switches twice between two neighbouring points is not seen. The score is the mean of several
networks.
"""

from __future__ import annotations

import hashlib
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
    """The regions on a path through the inputs of a batch, seen at equidistant points."""

    cost = "one forward pass of all points a repeat through a thin network, about 30 ms on one core"
    #: As thin as TE-NAS' network.
    proxy: ClassVar[Mapping[str, Any]] = {"depth": 1, "width": 1, "resolution": 8}

    batch: int = 2
    points: int = 200
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
        switches = _Switches()
        with self.reproducible(seed), torch.no_grad():
            module = self.untrained(graph, build, seed)
            with watched(module, graph, switches.add):
                module(self.path(graph))
        return 1 + switches.count


class _Switches:
    """Counts how often ReLUs switch from point to point; those of one tensor switch together and count once."""

    def __init__(self) -> None:
        self.count = 0
        self._seen: set[bytes] = set()

    def add(self, output: Tensor) -> None:
        """Add the switches of the outputs of one layer, points first."""
        codes = (output > 0).flatten(1)
        key = hashlib.sha256(codes.cpu().numpy().tobytes()).digest()
        if key not in self._seen:
            self._seen.add(key)
            self.count += int((codes[1:] != codes[:-1]).sum())
