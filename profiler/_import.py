"""Importing a table: the first format that accepts a file or folder reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hilnas import plugins
from hilnas.errors import BadFile, UnknownName, UsageError
from profiler._source_pack import pack_folder
from profiler._store import Store
from profiler._table_records import ReferenceTable
from profiler.importers._base import Importer, ImportRequest

_TABLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SHIPPED = "source_pack:"


def import_request(
    source: str | Path,
    name: str | None = None,
    space: str | None = None,
    units: Sequence[str] = (),
    batches: Sequence[str] = (),
) -> ImportRequest:
    """Return what `hilnas data import` asks for; a source pack needs no name of its own.

    Raises UsageError for a bad name, contradicting units or batches, UnknownName for a pack that does not ship.
    """
    shipped = str(source).removeprefix(_SHIPPED) if str(source).startswith(_SHIPPED) else None
    path = Path(source) if shipped is None else pack_folder(shipped)
    name = name or shipped
    if name is None:
        raise UsageError("the table has no name", "", f"Name it: hilnas data import {source} --as NAME")
    if not _TABLE_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a table", "Letters, digits, '_', '-' and '.', at most 64.")
    unit, by_column = _for_columns(units, "--unit", "UNIT")
    batch, batch_by_column = _for_columns(batches, "--batch", "N")
    return ImportRequest(
        path, name, space, unit, by_column, None if batch is None else _batch(batch),
        {column: _batch(text) for column, text in batch_by_column.items()},
    )  # fmt: skip


def import_table(store: Store, request: ImportRequest, format_name: str | None = None) -> ReferenceTable:
    """Read a file or folder and store it, by the format of a name or the first one that accepts it.

    Raises BadFile for one that no format accepts or that is broken, UnknownName for an unknown space or format.
    """
    spaces = plugins.names("search_spaces")
    if request.space is not None and request.space not in spaces:
        raise UnknownName("space", request.space, spaces)
    if not request.path.exists():
        raise BadFile(f"there is no {request.path}", "", "Check the path; source packs: hilnas data list")
    importer = _named(format_name) if format_name else _accepting(request.path)
    try:
        table = importer.read(request, store.index_to_architecture(request.space))
    except BadFile as error:
        raise _with_remedy(error, request, importer) from error
    store.put_table(table)
    return table


def _with_remedy(error: BadFile, request: ImportRequest, importer: Importer) -> BadFile:
    """Return the error with a likely cause and a next step, where the format has none of its own."""
    again = f"hilnas data import {request.path} --as {request.name}"
    return BadFile(
        error.what,
        error.cause or f"It was damaged on its way, or is no {importer.format}.",
        error.remedy or f"Repair it or get it again, then: {again} (docs/tables.md shows every format)",
    )


def _named(name: str) -> Importer:
    return plugins.load("profiler.importers", name, Importer, noun="format")()


def _accepting(path: Path) -> Importer:
    known = {name: _named(name) for name in plugins.names("profiler.importers")}
    for importer in sorted(known.values(), key=lambda importer: importer.generic):
        if importer.accepts(path):
            return importer
    listed = "; ".join(f"{name}: {importer.format}" for name, importer in known.items())
    raise BadFile(
        f"no importer accepts {path.name}",
        f"Known formats: {listed}.",
        "Give the file the ending of its format, or name the format: --format NAME",
    )


def _for_columns(texts: Sequence[str], option: str, value: str) -> tuple[str | None, dict[str, str]]:
    """Return what `VALUE` and `COLUMN=VALUE` texts say: for the rest, and by column."""
    rest = [text for text in texts if "=" not in text]
    if len(rest) > 1:
        raise UsageError(
            f"{option} says two things for the rest: {', '.join(rest)}",
            "",
            f"Name the column: {option} COLUMN={value}",
        )
    return rest[0] if rest else None, dict(text.rsplit("=", 1) for text in texts if "=" in text)


def _batch(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 2**20:
        raise UsageError(f"{text[:40]!r} is no batch", "How many images one call has.", "Write for instance --batch 32")
    return int(text)
