"""The contract of an importer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from hilnas.errors import UsageError
from profiler._table_records import ReferenceTable


@dataclass(frozen=True)
class ImportRequest:
    """What the user says about a file: the table's name, the space, and units and batches that the file does not say.

    `unit` and `batch` hold for all columns without one of their own.
    """

    path: Path
    name: str
    space: str | None = None
    unit: str | None = None
    column_units: Mapping[str, str] = field(default_factory=dict)
    batch: int | None = None
    column_batches: Mapping[str, int] = field(default_factory=dict)

    def batch_of(self, column: str, known: int | None = None) -> int | None:
        """Return how many images a call of a column has: as the user says, else as the source does, else None."""
        return self.column_batches.get(column, self.batch if known is None else known)

    def needed_space(self) -> str:
        """Return the space of the architectures; raise UsageError where the user did not say it."""
        if self.space is None:
            raise UsageError(
                f"the search space of {self.path} is not known",
                "It holds values by architecture.",
                "Say it: --space nasbench201",
            )
        return self.space


class Importer(ABC):
    """Reads one format of another tool; what it reads is untrusted: validated and limited in size."""

    #: What people call the format, with the endings of its files.
    format: ClassVar[str]
    #: Whether other formats use the same endings: asked last.
    generic: ClassVar[bool] = False

    @abstractmethod
    def accepts(self, path: Path) -> bool:
        """Return whether a file or folder is of this format, by its name and, where that says too little, its head."""

    @abstractmethod
    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return the table in SI units; raise BadFile for a broken file, UsageError for what the user must say."""
