"""Reference tables in the database: other tools' numbers by architecture, or by block."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UnknownName, UsageError
from hilnas.records import canonical_json
from profiler._database import Database

_FLOATS = np.dtype("<f8")

#: What the rows of a table are: architectures of a space, or blocks by the keys of whoever measured them.
Kind = Literal["architectures", "blocks"]


@dataclass(frozen=True)
class Column:
    """One column to store: SI values (NaN: missing), its dimension and the unit of the file; or texts.

    `batch` is how many images one call had, where that is known. `spreads` (SI, NaN: unknown) say how far measured
    values scatter, in the sense of `spread_kind` (`sd`, `half_width`, `half_p10_p90`), `counts` how many there were.
    """

    name: str
    dimension: str
    unit: str
    values: NDArray[np.float64] | None = None
    texts: tuple[str, ...] | None = None
    batch: int | None = None
    spreads: NDArray[np.float64] | None = None
    spread_kind: str = ""
    counts: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class ReferenceTable:
    """A table to store: one row an architecture, or one row a block; then `keys` are the keys of the blocks.

    `attributes` hold what the key of each block says (operator, shapes ...); `provenance` how the values came about.
    """

    name: str
    space: str
    source: str
    sha256: str
    keys: tuple[str, ...]
    indices: tuple[int, ...] | None
    columns: tuple[Column, ...]
    kind: Kind = "architectures"
    attributes: tuple[Mapping[str, Any], ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TableColumn:
    """One column to use: architecture text or block key -> SI value (percent stays percent).

    What is missing is not there: neither in `values` nor in `spreads` and `counts`.
    """

    table: str
    name: str
    space: str
    dimension: str
    unit: str
    n_missing: int
    values: Mapping[str, float] = field(repr=False)
    kind: Kind = "architectures"
    batch: int | None = None
    spreads: Mapping[str, float] = field(default_factory=dict, repr=False)
    spread_kind: str = ""
    counts: Mapping[str, int] = field(default_factory=dict, repr=False)

    @property
    def address(self) -> str:
        """Return what people type: `table:NAME/COLUMN`."""
        return f"table:{self.table}/{self.name}"


class TableRecords:
    """Reading and writing of reference tables."""

    database: Database

    def put_table(self, table: ReferenceTable) -> None:
        """Store a table; one of the same name is replaced."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM reference_tables WHERE name = ?", (table.name,))
            connection.execute(
                "INSERT INTO reference_tables (name, space, source, sha256, imported_at, n_rows, architectures,"
                " indices, kind, attributes, provenance) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                _table_row(table),
            )
            for position, column in enumerate(table.columns):
                connection.execute(
                    "INSERT INTO reference_columns (table_name, position, name, dimension, unit, samples, texts,"
                    " batch, spreads, spread_kind, counts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    _column_row(table.name, position, column),
                )

    def table_names(self, kind: Kind | None = None) -> list[str]:
        """Return the names of all tables, or of those of a kind, oldest first."""
        rows = self.database.read(
            "SELECT name FROM reference_tables WHERE ?1 IS NULL OR kind = ?1 ORDER BY imported_at, name", (kind,)
        )
        return [row["name"] for row in rows]

    def table_kind(self, name: str) -> Kind:
        """Return what the rows of a table are; raise UnknownName for a table that is not there."""
        kind: Kind = self._need_table(name)["kind"]
        return kind

    def table_columns(self, name: str | None = None) -> list[TableColumn]:
        """Return the numeric columns by architecture, of one table or of all; UnknownName for one that is not there."""
        return self._columns(name, "architectures")

    def block_columns(self, name: str | None = None) -> list[TableColumn]:
        """Return the numeric columns by block, of one table or of all; UnknownName for one that is not there."""
        return self._columns(name, "blocks")

    def table_column(self, name: str, column: str) -> TableColumn:
        """Return one numeric column by architecture.

        Raises UnknownName for a table or column that is not there, UsageError for a table of blocks.
        """
        table = self._need_table(name)
        if table["kind"] != "architectures":
            raise UsageError(
                f"{name!r} is a table of blocks, not of architectures",
                "Its entries are parts of networks; a lookup table adds them up.",
                f"Look at its entries: hilnas data export {name}",
            )
        return self._column(table, column)

    def block_column(self, name: str, column: str | None = None) -> TableColumn:
        """Return one numeric column by block key (None: the first), `values` of times in seconds.

        Raises UnknownName for a table or column that is not there, UsageError for a table of architectures.
        """
        table = self._need_table(name)
        if table["kind"] != "blocks":
            raise UsageError(f"{name!r} is a table of architectures, not of blocks", "", "See: hilnas data list")
        if column is None:
            return self._columns(name, "blocks")[0]
        return self._column(table, column)

    def block_attributes(self, name: str) -> dict[str, Mapping[str, Any]]:
        """Return block key -> what it says (operator, shapes ...), empty where it says nothing that is known."""
        table = self._need_table(name)
        keys = json.loads(table["architectures"])
        return dict(zip(keys, json.loads(table["attributes"] or "null") or [{}] * len(keys), strict=True))

    def column_at(self, address: str) -> TableColumn:
        """Return the column of an address `table:NAME/COLUMN`; raise UsageError for another form."""
        name, slash, column = address.removeprefix("table:").partition("/")
        if not address.startswith("table:") or not slash or not name or not column:
            raise UsageError(f"{address!r} names no column", "", "Write table:NAME/COLUMN; see: hilnas data list")
        return self.table_column(name, column)

    def provenance(self, name: str) -> dict[str, Any]:
        """Return how the values of a table came about, as far as its source says; with source and sha256."""
        table = self._need_table(name)
        return {"source": table["source"], "sha256": table["sha256"], **json.loads(table["provenance"])}

    def index_to_architecture(self, space: str | None) -> dict[int, str]:
        """Return index -> architecture text, from all tables of a space that have both; nothing for no space."""
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
        """Return the header and the rows of a table, in SI; spreads and counts are columns beside their values."""
        table = self._need_table(name)
        blocks = table["kind"] == "blocks"
        first = "block" if blocks else "architecture"
        listed: dict[str, Sequence[object]] = {first: json.loads(table["architectures"])}
        if blocks:
            listed["attributes"] = list(self.block_attributes(name).values())
        if table["indices"]:
            listed["index"] = json.loads(table["indices"])
        for row in self._stored_columns(name):
            listed.update(_listed(row))
        rows = [dict(zip(listed, values, strict=True)) for values in zip(*listed.values(), strict=True)]
        return list(listed), rows

    def _columns(self, name: str | None, kind: Kind) -> list[TableColumn]:
        names = self.table_names(kind)
        if name is not None:
            names = [name] if self.table_kind(name) == kind else []
        return [
            self._column(self._need_table(table), row["name"])
            for table in sorted(names)
            for row in self._stored_columns(table)
            if row["samples"] is not None
        ]

    def _column(self, table: Mapping[str, Any], column: str) -> TableColumn:
        name = table["name"]
        rows = self._stored_columns(name)
        found = next((row for row in rows if row["name"] == column), None)
        if found is None or found["samples"] is None:
            known = [row["name"] for row in rows if row["samples"] is not None]
            raise UnknownName(f"column of the table {name!r}:", column, known, "Look at: hilnas data list")
        keys = json.loads(table["architectures"])
        present = _present(keys, found["samples"])
        return TableColumn(
            name, column, table["space"], found["dimension"], found["unit"], len(keys) - len(present), present,
            table["kind"], found["batch"], _present(keys, found["spreads"]), found["spread_kind"],
            {key: int(value) for key, value in _present(keys, found["counts"]).items()},
        )  # fmt: skip

    def _stored_columns(self, name: str) -> list[sqlite3.Row]:
        return self.database.read("SELECT * FROM reference_columns WHERE table_name = ? ORDER BY position", (name,))

    def _need_table(self, name: str) -> Mapping[str, Any]:
        rows = self.database.read("SELECT * FROM reference_tables WHERE name = ?", (name,))
        if not rows:
            raise UnknownName("table", name, self.table_names(), "Import one with: hilnas data import FILE --as NAME")
        return dict(rows[0])


def _table_row(table: ReferenceTable) -> tuple[object, ...]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return (
        table.name, table.space, table.source, table.sha256, now, len(table.keys), json.dumps(list(table.keys)),
        None if table.indices is None else json.dumps(list(table.indices)), table.kind,
        None if table.attributes is None else canonical_json([dict(item) for item in table.attributes]),
        canonical_json(dict(table.provenance)),
    )  # fmt: skip


def _column_row(table: str, position: int, column: Column) -> tuple[object, ...]:
    return (
        table, position, column.name, column.dimension, column.unit, _blob(column.values),
        None if column.texts is None else json.dumps(list(column.texts)), column.batch, _blob(column.spreads),
        column.spread_kind, _blob(column.counts),
    )  # fmt: skip


def _blob(values: NDArray[np.float64] | None) -> bytes | None:
    return None if values is None else values.astype(_FLOATS).tobytes()


def _present(keys: Sequence[str], samples: bytes | None) -> dict[str, float]:
    """Return key -> value of what is not missing."""
    if samples is None:
        return {}
    values = np.frombuffer(samples, _FLOATS)
    return {key: float(value) for key, value in zip(keys, values, strict=True) if value == value}


def _listed(row: sqlite3.Row) -> dict[str, Sequence[object]]:
    """Return a stored column as columns of rows: its values, and what is known beside them."""
    if row["samples"] is None:
        return {row["name"]: json.loads(row["texts"])}
    named = {"": row["samples"], f"_{row['spread_kind']}": row["spreads"], "_count": row["counts"]}
    found: dict[str, Sequence[object]] = {}
    for ending, samples in named.items():
        if samples is not None:
            values = np.frombuffer(samples, _FLOATS).tolist()
            shown = [int(value) if ending == "_count" and value == value else value for value in values]
            found[row["name"] + ending] = ["" if value != value else value for value in shown]
    return found
