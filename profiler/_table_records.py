"""Reference tables in the database: other tools' numbers by architecture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UnknownName, UsageError
from profiler._database import Database

_FLOATS = np.dtype("<f8")


@dataclass(frozen=True)
class Column:
    """One column to store: SI values (NaN: missing), its dimension and the unit of the file; or texts."""

    name: str
    dimension: str
    unit: str
    values: NDArray[np.float64] | None = None
    texts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ReferenceTable:
    """A table to store: one row an architecture."""

    name: str
    space: str
    source: str
    sha256: str
    architectures: tuple[str, ...]
    indices: tuple[int, ...] | None
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class TableColumn:
    """One column to use: architecture text -> SI value (percent stays percent); missing values are not there."""

    table: str
    name: str
    space: str
    dimension: str
    unit: str
    n_missing: int
    values: Mapping[str, float] = field(repr=False)

    @property
    def address(self) -> str:
        """Return what people type: `table:NAME/COLUMN`."""
        return f"table:{self.table}/{self.name}"


class TableRecords:
    """Reading and writing of reference tables."""

    database: Database

    def put_table(self, table: ReferenceTable) -> None:
        """Store a table; one of the same name is replaced."""
        indices = None if table.indices is None else json.dumps(list(table.indices))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self.database.write() as connection:
            connection.execute("DELETE FROM reference_tables WHERE name = ?", (table.name,))
            connection.execute(
                "INSERT INTO reference_tables VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    table.name, table.space, table.source, table.sha256, now, len(table.architectures),
                    json.dumps(list(table.architectures)), indices,
                ),
            )  # fmt: skip
            for position, column in enumerate(table.columns):
                samples = None if column.values is None else column.values.astype(_FLOATS).tobytes()
                texts = None if column.texts is None else json.dumps(list(column.texts))
                connection.execute(
                    "INSERT INTO reference_columns VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (table.name, position, column.name, column.dimension, column.unit, samples, texts),
                )

    def table_names(self) -> list[str]:
        """Return the names of all tables, oldest first."""
        return [
            row["name"] for row in self.database.read("SELECT name FROM reference_tables ORDER BY imported_at, name")
        ]

    def table_columns(self, name: str | None = None) -> list[TableColumn]:
        """Return the numeric columns of one table or of all; raise UnknownName for a table that is not there."""
        if name is not None:
            self._need_table(name)
        rows = self.database.read(
            "SELECT table_name, name FROM reference_columns"
            " WHERE dimension != 'text' AND (?1 IS NULL OR table_name = ?1) ORDER BY table_name, position",
            (name,),
        )
        return [self.table_column(row["table_name"], row["name"]) for row in rows]

    def table_column(self, name: str, column: str) -> TableColumn:
        """Return one numeric column; raise UnknownName for a table or column that is not there."""
        table = self._need_table(name)
        rows = self.database.read("SELECT * FROM reference_columns WHERE table_name = ? ORDER BY position", (name,))
        found = next((row for row in rows if row["name"] == column), None)
        if found is None or found["samples"] is None:
            known = [row["name"] for row in rows if row["samples"] is not None]
            raise UnknownName(f"column of the table {name!r}:", column, known, "Look at: hilnas data list")
        values = np.frombuffer(found["samples"], _FLOATS)
        keys = json.loads(table["architectures"])
        present = {key: float(value) for key, value in zip(keys, values, strict=True) if value == value}
        missing = len(keys) - len(present)
        return TableColumn(name, column, table["space"], found["dimension"], found["unit"], missing, present)

    def column_at(self, address: str) -> TableColumn:
        """Return the column of an address `table:NAME/COLUMN`; raise UsageError for another form."""
        name, slash, column = address.removeprefix("table:").partition("/")
        if not address.startswith("table:") or not slash or not name or not column:
            raise UsageError(f"{address!r} names no column", "", "Write table:NAME/COLUMN; see: hilnas data list")
        return self.table_column(name, column)

    def index_to_architecture(self, space: str) -> dict[int, str]:
        """Return index -> architecture text, from all tables of a space that have both."""
        found: dict[int, str] = {}
        for row in self.database.read(
            "SELECT architectures, indices FROM reference_tables WHERE space = ? AND indices IS NOT NULL", (space,)
        ):
            pairs: Sequence[tuple[int, str]] = list(
                zip(json.loads(row["indices"]), json.loads(row["architectures"]), strict=True)
            )
            found.update(pairs)
        return found

    def table_rows(self, name: str) -> tuple[list[str], list[dict[str, object]]]:
        """Return the header and the rows of a table, in SI, as `hilnas data export` prints them."""
        table = self._need_table(name)
        columns = self.database.read("SELECT * FROM reference_columns WHERE table_name = ? ORDER BY position", (name,))
        listed: dict[str, Sequence[object]] = {"architecture": json.loads(table["architectures"])}
        if table["indices"]:
            listed["index"] = json.loads(table["indices"])
        for row in columns:
            if row["samples"] is None:
                listed[row["name"]] = json.loads(row["texts"])
            else:
                values = np.frombuffer(row["samples"], _FLOATS).tolist()
                listed[row["name"]] = ["" if value != value else value for value in values]
        rows = [dict(zip(listed, values, strict=True)) for values in zip(*listed.values(), strict=True)]
        return list(listed), rows

    def _need_table(self, name: str) -> Mapping[str, str]:
        rows = self.database.read("SELECT * FROM reference_tables WHERE name = ?", (name,))
        if not rows:
            raise UnknownName("table", name, self.table_names(), "Import one with: hilnas data import FILE --as NAME")
        return dict(rows[0])
