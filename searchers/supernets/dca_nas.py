"""DCA-NAS: differentiable search under the limits of a device.

Source: DCA-NAS (device constraint-aware NAS), Eq. 3 to 5 and Algorithm 1. Multipliers ascend while the expected costs
of the network exceed their bounds. What is derived costs something else than what is expected, more or less: so the
search is repeated under a grid of bounds on both sides of the limits (the lookup graph), and what counts is the cost of
the architecture that each of them derives.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hilnas.errors import UsageError
from search_spaces._supergraph import Supernet
from searchers._supernet_search import DCA_NAS, Method
from searchers.supernets._base import Task
from searchers.supernets._cells import CellSearcher


class DcaNas(CellSearcher):
    """Searches once for each bound of the grid.

    bounds: points of the grid, from `lowest` to `highest` times the limits in equal ratios; one without limits. shared:
    operations run once for each tensor they read. bottleneck: channels are divided by it inside cells. derived: only
    the first cell of each kind is mixed.
    """

    method = DCA_NAS
    limited = True
    authors_steps = 50 * 49

    def __init__(
        self,
        task: Task,
        *,
        bounds: int = 6,
        lowest: float = 0.5,
        highest: float = 2.0,
        shared: bool = True,
        bottleneck: int = 4,
        derived: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(task, **options)
        if bounds < 1 or not 0 < lowest <= highest:
            raise UsageError("dca_nas needs at least one bound, and 0 < lowest <= highest")
        several = bounds > 1 and task.limits
        grid = [float(f"{item:.4g}") for item in np.geomspace(lowest, highest, bounds)] if several else [1.0]
        self._factors = tuple(dict.fromkeys(grid))
        self._style, self._derived = Supernet(shared=shared, bottleneck=bottleneck), derived

    @property
    def factors(self) -> tuple[float, ...]:
        """Return the grid."""
        return self._factors

    def chosen_method(self) -> Method:
        """Return the method with the parts that were asked for."""
        return replace(self.method, style=self._style, derived=self._derived)
