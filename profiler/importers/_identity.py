"""Which architecture a row is: by its text, by the operators of its layers, or by an index of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hilnas.errors import BadFile, UsageError
from profiler._plan import load_space
from profiler.importers._base import ImportRequest

_LARGEST_INDEX = 2**53


def parsed(texts: Sequence[str], request: ImportRequest, first_row: int = 2) -> list[str]:
    """Return the canonical texts; raise BadFile, which names the row, for one that is none of the space."""
    space = load_space(request.needed_space())
    found = []
    for number, text in enumerate(texts, start=first_row):
        try:
            found.append(space.parse(text).text)
        except UsageError as error:
            raise BadFile(f"{request.path}, row {number}: {error.what}", error.cause) from error
    return found


def resolved(indices: Sequence[int], request: ImportRequest, known: Mapping[int, str]) -> list[str]:
    """Return the texts of indices; raise BadFile where one is not known."""
    missing = [index for index in indices if index not in known]
    if missing:
        space = request.needed_space()
        raise BadFile(
            f"{request.path} names its architectures by index alone, and {len(missing)} of them cannot be resolved",
            f"No imported table of {space!r} has both index and arch_str for them (first: {missing[0]}).",
            f"Import such a table first, then this one: hilnas data import FILE_WITH_BOTH --as NAME --space {space}",
        )
    return [known[index] for index in indices]


def checked_indices(cells: Sequence[str], request: ImportRequest) -> tuple[int, ...]:
    """Return a column of indices; raise BadFile for anything else, a negative one or one that stands twice."""
    try:
        found = tuple(int(cell) for cell in cells)
    except ValueError as error:
        raise BadFile(f"{request.path}: the column index holds something else than whole numbers: {error}") from error
    if min(found) < 0 or max(found) > _LARGEST_INDEX or len(set(found)) != len(found):
        raise BadFile(f"{request.path}: the column index holds a negative number or one twice")
    return found


def distinct(texts: Sequence[str], request: ImportRequest) -> tuple[str, ...]:
    """Return the texts; raise BadFile for one that stands twice."""
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise BadFile(
                f"{request.path} has the architecture {text!r} twice",
                "Two tables were put together, or it was measured twice.",
                "Keep one row of each.",
            )
        seen.add(text)
    return tuple(texts)
