"""YAML of two levels: read event by event, so that no tag, alias or class ever becomes anything; and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hilnas.errors import BadFile

_MAX_EVENTS = 2_000_000


class _NotFlat(Exception):
    """The text holds something else than a mapping of mappings of plain values."""


def flat_mapping(data: bytes, path: Path) -> dict[str, dict[str, str]]:
    """Return `key: {name: value}` as texts; a plain `key: value` has the name "".

    Raises BadFile for a text that is no YAML or holds anything else: tags, anchors and aliases, lists, deeper levels,
    several documents, a key that stands twice.
    """
    import yaml  # type: ignore[import-untyped]

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _document(_plain(yaml.parse(data, Loader=loader)))
    except _NotFlat as error:
        raise BadFile(
            f"{path} is refused: {error}",
            "A table of blocks is a plain mapping, key: {count: 154, mean: 5.26, var: 0.19}.",
            "Write it again with yaml.safe_dump, or as CSV.",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise BadFile(f"{path} is no YAML: {text[:200]}", "It is damaged, or of another format.") from error


def flat_yaml(mapping: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of a mapping of mappings of plain values, one key a line, sorted."""
    import yaml

    plain = {key: dict(values) for key, values in mapping.items()}
    text: str = yaml.safe_dump(plain, sort_keys=True, default_flow_style=None, width=10_000, allow_unicode=True)
    return text


def _plain(events: Iterator[Any]) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of every event; raise _NotFlat for one that a plain mapping does not have."""
    for number, event in enumerate(events):
        if number > _MAX_EVENTS:
            raise _NotFlat(f"it has more than {_MAX_EVENTS} values")
        kind = type(event).__name__.removesuffix("Event")
        if kind == "Alias" or getattr(event, "anchor", None):
            raise _NotFlat("it has an anchor or alias (& or *)")
        if getattr(event, "tag", None):
            raise _NotFlat(f"it has the tag {str(event.tag)[:60]!r}")
        yield kind, getattr(event, "value", "")


def _document(events: Iterator[tuple[str, str]]) -> dict[str, dict[str, str]]:
    for expected in ("StreamStart", "DocumentStart", "MappingStart"):
        _expect(events, expected)
    found: dict[str, dict[str, str]] = {}
    for key, (kind, text) in _pairs(events):
        if kind == "MappingStart":
            found[key] = {name: _scalar(value) for name, value in _pairs(events)}
        else:
            found[key] = {"": _scalar((kind, text))}
    for expected in ("DocumentEnd", "StreamEnd"):
        _expect(events, expected)
    return found


def _pairs(events: Iterator[tuple[str, str]]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield key and first event of the value, up to the end of the mapping."""
    seen: set[str] = set()
    for kind, key in events:
        if kind == "MappingEnd":
            return
        _scalar((kind, key))
        if key in seen:
            raise _NotFlat(f"{key[:100]!r} stands twice")
        seen.add(key)
        yield key, next(events, ("nothing", ""))


def _scalar(event: tuple[str, str]) -> str:
    kind, text = event
    if kind != "Scalar":
        raise _NotFlat("it is nested deeper than key: {name: value}, or holds lists")
    return text


def _expect(events: Iterator[tuple[str, str]], kind: str) -> None:
    if next(events, ("nothing", ""))[0] != kind:
        raise _NotFlat("it is no single mapping")
