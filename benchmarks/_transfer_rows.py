"""Rows of the benchmark of transfer: figures by seed, their averages, and how they are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

#: The task of predictors that know almost everything of a target; its devices differ in `n`.
CEILING = "ceiling"
_FACTS = ("task", "device", "family", "n", "judged on")
_WIDTHS, _FIGURE_WIDTH = (23, 27, 12, 4, 9), 15

Figure = tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of a device, or of several on average, by seed (None: not defined), after n measurements.

    `n` and `n_evaluated` are 0 for an average over devices that differ in them.
    """

    task: str
    device: str
    family: str
    n: int
    n_evaluated: int
    figures: Mapping[str, Figure]
    published: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value, mean and standard deviation of each figure in place of its values."""
        return {**asdict(self), "figures": {name: _mean_sd(values) for name, values in self.figures.items()}}

    def cells(self) -> list[str]:
        """Return what is printed."""
        shown = [
            "n/a" if found is None else f"{found[0]:.3f} ± {found[1]:.3f}"
            for found in map(_mean_sd, self.figures.values())
        ]
        if "spearman" in self.figures:
            shown.append("" if self.published is None else f"{self.published:.3f}")
        return [self.task, self.device, self.family, str(self.n or ""), str(self.n_evaluated or ""), *shown]


def _mean_sd(values: Figure) -> tuple[float, float] | None:
    if values is None:
        return None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def averages(rows: Sequence[Row]) -> list[Row]:
    """Return the averages over the devices of each family, over the families, and over devices with a published figure.

    Those of each task and number of measurements by themselves; seed by seed, so that they have a spread.
    """
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.task, 0 if row.task == CEILING else row.n), []).append(row)
    found = []
    for group in groups.values():
        families = [
            _average([row for row in group if row.family == family], "mean", family)
            for family in dict.fromkeys(row.family for row in group)
        ]
        found += [*families, _average(families, "mean of families")]
        published = [row for row in group if row.published is not None]
        if published:
            theirs = float(np.mean([row.published for row in published]))
            found.append(replace(_average(published, "mean of HELP's devices"), published=theirs))
    return found


def _average(rows: Sequence[Row], title: str, family: str = "") -> Row:
    figures: dict[str, Figure] = {}
    for name in rows[0].figures:
        values = [row.figures[name] for row in rows]
        defined = [item for item in values if item is not None]
        figures[name] = tuple(np.mean(defined, axis=0).tolist()) if len(defined) == len(values) else None
    n = rows[0].n if len({row.n for row in rows}) == 1 else 0
    return Row(rows[0].task, f"{title} ({len(rows)})", family, n, 0, figures)


def line(cells: Sequence[str], markdown: bool) -> str:
    """Return a row of a table."""
    if markdown:
        return f"| {' | '.join(cells)} |"
    widths = (*_WIDTHS, *(_FIGURE_WIDTH,) * len(cells))
    return " ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=False)).rstrip()


def head(figures: Mapping[str, str], markdown: bool) -> str:
    """Return the head of a table with these figures and their titles."""
    columns = (*_FACTS, *figures.values(), *(["HELP, n = 10"] if "spearman" in figures else []))
    shown = line(columns, markdown)
    return f"{shown}\n|{'---|' * len(columns)}" if markdown else shown
