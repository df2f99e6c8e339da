"""DARTS (Liu et al., ICLR 2019): differentiable search without limits, of first or second order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hilnas.errors import UsageError
from searchers._supernet_search import DARTS, Method
from searchers.supernets._base import Task
from searchers.supernets._cells import CellSearcher


class Darts(CellSearcher):
    """The plain search: every cell mixed, every operation on every edge. order: of the gradient of the shares."""

    method = DARTS
    authors_steps = 50 * 390

    def __init__(self, task: Task, *, order: int = 1, **options: Any) -> None:
        super().__init__(task, **options)
        if order not in (1, 2):
            raise UsageError(f"DARTS is of order 1 or 2, not {order}")
        self._second = order == 2

    def chosen_method(self) -> Method:
        """Return the method of the order that was asked for."""
        return replace(self.method, order=2) if self._second else self.method
