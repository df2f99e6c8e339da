"""Answers on stdout: JSON for programs, tables for people; nothing else is printed there."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from hilnas import __version__

#: Version of the shape of every JSON answer.
SCHEMA_VERSION = 1


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option `--json` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)


def answer(values: dict[str, Any], seed: int | None = None) -> dict[str, Any]:
    """Return a JSON answer: the values with schema version, seed and versions beside them."""
    versions = {"hilnas": __version__, "python": platform.python_version()}
    return {"schema_version": SCHEMA_VERSION, "versions": versions, "seed": seed, **values}


def show_json(values: dict[str, Any]) -> None:
    """Print a JSON answer; numbers that are not finite become null."""
    click.echo(json.dumps(_finite(values), indent=2, allow_nan=False))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print a table for people on stdout, every text as it is: square brackets are no markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, "table.title") if title else None, title_justify="left")
    for name in columns:
        table.add_column(Text(name, "bold"))
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console(width=None if Console().is_terminal else 200).print(table)


def _cell(value: object) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
