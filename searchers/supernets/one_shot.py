"""One-shot DNAS: all candidates have weights, but each step runs one path through them."""

from __future__ import annotations

from typing import Any

from searchers.supernets._base import Task
from searchers.supernets.dnas import Dnas


class OneShot(Dnas):
    """Weights learn along paths that are drawn evenly, shares along paths that they draw themselves (REINFORCE)."""

    def __init__(self, task: Task, *, dnas_epochs: int = 30, **options: Any) -> None:
        super().__init__(task, relax="path", dnas_epochs=dnas_epochs, **options)
