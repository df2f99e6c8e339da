"""The public tables of NAS-Bench-201, by an architecture's text."""

from __future__ import annotations

import csv
import gzip
from functools import cache
from pathlib import Path

_NAMES = "nb201_accuracy"


def column(folder: Path, table: str, name: str, factor: float = 1.0) -> dict[str, float]:
    """Return what a column of a table (its file's name without `.csv.gz`) holds, times a factor; gaps are left out."""
    texts = {row["index"]: f"nasbench201:{row['arch_str']}" for row in _rows(folder / f"{_NAMES}.csv.gz")}
    rows = _rows(folder / f"{table}.csv.gz")
    return {texts[row["index"]]: float(row[name]) * factor for row in rows if row[name]}


def names_of(folder: Path, table: str) -> list[str]:
    """Return the columns of a table beside those that name the architecture."""
    return [name for name in _rows(folder / f"{table}.csv.gz")[0] if name not in ("index", "arch_str")]


@cache
def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
