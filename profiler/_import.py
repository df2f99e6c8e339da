"""Importing a table: the first format that accepts the file reads it."""

from __future__ import annotations

from hilnas import plugins
from hilnas.errors import BadFile, UnknownName
from profiler._store import Store
from profiler._table_records import ReferenceTable
from profiler.importers._base import Importer, ImportRequest


def import_table(store: Store, request: ImportRequest) -> ReferenceTable:
    """Read a file and store it; raise BadFile for one that no format accepts, UnknownName for an unknown space."""
    spaces = plugins.names("search_spaces")
    if request.space not in spaces:
        raise UnknownName("space", request.space, spaces)
    for name in plugins.names("profiler.importers"):
        importer = plugins.load("profiler.importers", name, Importer)()
        if importer.accepts(request.path):
            table = importer.read(request, store.index_to_architecture(request.space))
            store.put_table(table)
            return table
    raise BadFile(f"no importer accepts {request.path.name}", "Known: CSV and CSV.gz.")
