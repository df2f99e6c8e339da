"""The SQLite file of a workspace: opened, migrated, and written in transactions by one connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from hilnas.errors import BadFile, HilnasError
from profiler._errors import DiskFull, NewerDatabase, WorkspaceBusy
from profiler._migrations import MIGRATIONS


class Database:
    """One connection; use `write` for changes and `connection` for reading."""

    def __init__(self, path: Path) -> None:
        """Open the file, create or migrate it; raise BadFile for a corrupt, foreign or newer one."""
        self.path = path
        with translated(path):
            self.connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self.connection.close()
                raise

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run the block in one transaction: all of it is stored when it ends, or nothing."""
        with translated(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def read(self, query: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with translated(self.path):
            return self.connection.execute(query, values).fetchall()

    def _prepare(self) -> None:
        self.connection.row_factory = sqlite3.Row
        self.connection.execute("PRAGMA journal_mode = WAL")
        # A power cut may lose the last commits but never the file; kill -9 loses nothing.
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute("PRAGMA foreign_keys = ON")
        known = {migration.__name__ for migration in MIGRATIONS}
        applied = self._applied()
        if newer := sorted(applied - known):
            raise NewerDatabase(
                f"{self.path} was written by a newer hilnas",
                f"It has the unknown migration {newer[0]!r}.",
                "Update hilnas, or use another folder: hilnas --workspace DIR",
            )
        for migration in MIGRATIONS:
            if migration.__name__ not in applied:
                self._apply(migration.__name__)

    def _applied(self) -> set[str]:
        tables = {row["name"] for row in self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "_migrations" in tables:
            return {row["name"] for row in self.connection.execute("SELECT name FROM _migrations")}
        if tables:
            raise BadFile(f"{self.path} is a database, but none of hilnas", "", _OTHER)
        return set()

    def _apply(self, name: str) -> None:
        migration = next(migration for migration in MIGRATIONS if migration.__name__ == name)
        with self.write() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS _migrations (name TEXT PRIMARY KEY, applied_at TEXT) STRICT")
            # Another process may have been faster while we waited for the lock.
            if connection.execute("SELECT 1 FROM _migrations WHERE name = ?", (name,)).fetchone():
                return
            migration(_Statements(connection))  # type: ignore[arg-type]
            now = datetime.now(UTC).isoformat(timespec="seconds")
            connection.execute("INSERT INTO _migrations VALUES (?, ?)", (name, now))


class _Statements:
    """Runs a script statement by statement, since `executescript` would end our transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def executescript(self, script: str) -> None:
        statement = ""
        for line in script.splitlines():
            statement += line + "\n"
            if sqlite3.complete_statement(statement):
                self._connection.execute(statement)
                statement = ""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into errors a user can act on."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _operational(path, error) from error
    except sqlite3.IntegrityError:
        raise  # a broken invariant is a bug of ours
    except sqlite3.DatabaseError as error:
        raise BadFile(f"{path} is damaged or no database: {error}", "It is left as it is.", _OTHER) from error


def _operational(path: Path, error: sqlite3.OperationalError) -> HilnasError:
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return DiskFull(
            f"{path} cannot grow: {text}",
            "The disk is full. Everything measured before is kept.",
            "Free some space, then continue with: hilnas runs resume RUN",
        )
    if "locked" in text or "busy" in text:
        return WorkspaceBusy(f"{path} is locked", "Another process writes to it for long.", "Try again.")
    return BadFile(f"{path} cannot be used: {text}", "", _OTHER)


_OTHER = "Move it away, or use another folder: hilnas --workspace DIR"
