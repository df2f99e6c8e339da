"""Counting what became of campaigns in which a fault was injected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """One campaign with one fault: workloads lost, results that were made twice or are wrong, processes left over."""

    kind: str
    struck: bool
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    orphans: int = 0
    endless: bool = False
    note: str = ""

    @property
    def survived(self) -> bool:
        """Return whether nothing went wrong."""
        return not (self.lost or self.duplicated or self.wrong or self.orphans or self.endless)


_COUNTS = ("lost", "duplicated", "wrong", "orphans")


def tally(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the counts over all outcomes and by kind; `injected` counts the faults that really struck."""
    kinds = {kind: _counts([item for item in outcomes if item.kind == kind]) for kind in _ordered(outcomes)}
    return {"kinds": kinds, **_counts(outcomes)}


def lines(found: dict[str, Any]) -> list[str]:
    """Return the tally as a table for people."""
    names = ("injected", "survived", *_COUNTS, "endless")
    rows = [("kind", *names), *((kind, *(str(row[name]) for name in names)) for kind, row in found["kinds"].items())]
    rows.append(("all", *(str(found[name]) for name in names)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(names) + 1)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    struck = [item for item in outcomes if item.struck]
    return {
        "campaigns": len(outcomes),
        "injected": len(struck),
        "survived": sum(item.survived for item in struck),
        **{name: sum(getattr(item, name) for item in outcomes) for name in _COUNTS},
        "endless": sum(item.endless for item in outcomes),
    }


def _ordered(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(item.kind for item in outcomes))
