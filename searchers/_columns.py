"""Columns of tables as scores, costs and labels of one space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hilnas.errors import UsageError
from search_spaces._base import SearchSpace

if TYPE_CHECKING:
    from profiler._table_records import TableColumn
    from profiler._workspace import Workspace

#: The metric a column of this dimension limits.
METRIC_OF = {"time": "latency", "energy": "energy", "bytes": "memory"}


def column_of(workspace: Workspace, address: str, space: SearchSpace, option: str) -> TableColumn:
    """Return the column of an address; raise UsageError, naming the option, where it is of another space."""
    column = workspace.store.column_at(address)
    if column.space != space.name:
        raise UsageError(f"{option} {address} belongs to the space {column.space}, not to {space.name}")
    return column
