"""A workspace: the folder with the records, artifacts, predictors, studies and logs."""

from __future__ import annotations

from pathlib import Path

from hilnas.errors import BadFile
from profiler._artifacts import ArtifactStore
from profiler._database import Database
from profiler._store import Store


class Workspace:
    """An open workspace; a context manager that closes its database."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self.store = Store(database)
        self.artifacts = ArtifactStore(path / "artifacts")
        self._database = database

    @classmethod
    def open(cls, path: Path) -> Workspace:
        """Open the folder, creating it where it is missing; raise BadFile where that is impossible."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            ignore = path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise BadFile(
                f"the workspace {path} cannot be used: {error.strerror}", "", "Choose another: hilnas --workspace DIR"
            ) from error
        return cls(path, Database(path / "hilnas.db"))

    @property
    def predictors(self) -> Path:
        """Return the folder of fitted predictors."""
        return self.path / "predictors"

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
