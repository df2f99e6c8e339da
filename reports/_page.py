"""One offline HTML page from plain values: facts and tables, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .25rem .75rem; border-bottom: 1px solid #d8dee4; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
th { font-weight: 600; } code { font-size: .9em; }
@media (prefers-color-scheme: dark) { body { background: #14171a; color: #e6e9ec; } th, td { border-color: #343a40; } }
"""


@dataclass(frozen=True)
class Section:
    """A headline with a table: one row a mapping, all with the same keys."""

    title: str
    rows: Sequence[Mapping[str, Any]]


def page(title: str, facts: Mapping[str, Any], sections: Sequence[Section], charts: Sequence[str] = ()) -> str:
    """Return the whole page; it loads nothing from anywhere. `charts` are SVG, written as they are."""
    body = [f"<h1>{escape(title)}</h1>", _table([{"": key, " ": value} for key, value in facts.items()], header=False)]
    body += [f"<p>{chart}</p>" for chart in charts]
    for section in sections:
        body += [f"<h2>{escape(section.title)}</h2>", _table(section.rows) if section.rows else "<p>none</p>"]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}{viewport}</head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def sections_of(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Section]]:
    """Split a JSON answer into facts (plain values) and sections (lists of mappings, nested mappings)."""
    facts: dict[str, Any] = {}
    sections: list[Section] = []
    for key, value in values.items():
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            sections.append(Section(_words(key), _even(value)))
        elif isinstance(value, dict):
            inner, deeper = sections_of(value)
            if inner:
                sections.append(Section(_words(key), [{"": name, "value": item} for name, item in inner.items()]))
            sections += [Section(f"{_words(key)}: {section.title}", section.rows) for section in deeper]
        else:
            facts[_words(key)] = value
    return facts, sections


def _even(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return [{key: row.get(key) for key in columns} for row in rows]


def _words(key: str) -> str:
    return key.replace("_", " ")


def _table(rows: Sequence[Mapping[str, Any]], header: bool = True) -> str:
    head = "".join(f"<th>{escape(str(key))}</th>" for key in rows[0]) if header and rows else ""
    lines = ["<tr>" + "".join(_cell(value) for value in row.values()) + "</tr>" for row in rows]
    return "<table>" + (f"<tr>{head}</tr>" if head else "") + "\n".join(lines) + "</table>"


def _cell(value: Any) -> str:
    if value is None:
        return "<td>n/a</td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        return f'<td class="number">{value:.6g}</td>'
    if isinstance(value, list | tuple):
        return f"<td>{escape(', '.join(_plain(item) for item in value[:50]))}</td>"
    return f"<td>{escape(str(value))}</td>"


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
