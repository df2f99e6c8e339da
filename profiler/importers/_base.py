"""The contract of an importer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from profiler._table_records import ReferenceTable


@dataclass(frozen=True)
class ImportRequest:
    """What the user says about a file: the table's name, the space, and the units of columns that do not say it."""

    path: Path
    name: str
    space: str
    unit: str | None = None
    column_units: Mapping[str, str] = field(default_factory=dict)


class Importer(ABC):
    """Reads one format of another tool; what it reads is untrusted: validated and limited in size."""

    @abstractmethod
    def accepts(self, path: Path) -> bool:
        """Return whether the file's name is one of this format."""

    @abstractmethod
    def read(self, request: ImportRequest, index_to_architecture: Mapping[int, str]) -> ReferenceTable:
        """Return the table in SI units; raise BadFile for a broken file, UsageError for what the user must say."""
