"""One-shot DNAS: all candidates have weights, but each step runs one path through them."""

from __future__ import annotations

from typing import Any

from hilnas.errors import UsageError
from searchers.supernets._base import Task
from searchers.supernets.dnas import Dnas


class OneShot(Dnas):
    """Weights learn along paths that are drawn evenly, shares along paths that they draw themselves (REINFORCE)."""

    def __init__(self, task: Task, *, dnas_epochs: int = 30, relax: str = "path", **options: Any) -> None:
        if relax != "path":
            raise UsageError(f"one_shot runs one path at a time: relax=path, not {relax}", "", "Search with dnas.")
        super().__init__(task, relax=relax, dnas_epochs=dnas_epochs, **options)
