"""Labels: validation accuracies of a few random architectures that an evaluator learns from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace

#: Separates what is drawn for labels from everything else that is drawn under the same seed.
_STREAM = 1


@dataclass(frozen=True)
class Labels:
    """Architecture text -> accuracy, of which a search may use `budget`."""

    values: Mapping[str, float] = field(default_factory=dict, repr=False)
    budget: int = 100
    source: str = "none"

    def draw(
        self, space: SearchSpace, seed: int, usable: Callable[[Architecture], bool]
    ) -> tuple[list[Architecture], NDArray[np.float64]]:
        """Return `budget` random labelled architectures of different canonical form, and their accuracies.

        Raises UsageError where there are not so many usable ones.
        """
        texts = sorted(text for text, value in self.values.items() if np.isfinite(value))
        forms: set[str] = set()
        found: list[Architecture] = []
        for i in np.random.default_rng([seed, _STREAM]).permutation(len(texts)):
            architecture = space.parse(texts[i])
            form = space.canonical(architecture)
            if form in forms or not usable(architecture):
                continue
            forms.add(form)
            found.append(architecture)
            if len(found) == self.budget:
                return found, np.array([self.values[item.text] for item in found])
        raise UsageError(
            f"{self.source} has only {len(found)} different labelled architectures that can be used",
            "They need a label, a path from input to output, and a score to be fused.",
            f"Ask for fewer: --label-budget {len(found)}"
            if found
            else "Name another table: --labels table:NAME/COLUMN",
        )

    def describe(self) -> dict[str, Any]:
        """Return where labels come from and how many are used, as a JSON value."""
        return {"labels": self.source, "label_budget": self.budget}
