"""Scores from a column of a table, such as the validation accuracy of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers.evaluators._base import Evaluator, Score


class Tabular(Evaluator):
    """Looks scores up by the architecture's text (`nasbench201:|...|`); what the table lacks has no score."""

    cost = "a look-up, microseconds an architecture"

    def __init__(
        self,
        space: SearchSpace,
        *,
        values: Mapping[str, float] | None = None,
        source: str = "table",
        unit: str = "none",
    ) -> None:
        super().__init__(space)
        self.values = dict(values or {})
        self._source = source
        self.unit = unit

    def _scores(self, architectures: Sequence[Architecture]) -> list[Score]:
        return [self._look_up(architecture.text) for architecture in architectures]

    def _look_up(self, text: str) -> Score:
        if text not in self.values:
            return Score.missing(f"{self._source} has no entry for this architecture")
        return Score.of(self.values[text], f"the entry of {self._source} is not a finite number")

    def describe(self) -> dict[str, Any]:
        """Return the table's name and the unit of its column."""
        return {"score": self._source, "unit": self.unit, "cost": self.cost}
