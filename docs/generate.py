"""Writes docs/cli.md from the commands' own help; `--check` only says whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hilnas.cli import cli

TARGET = Path(__file__).parent / "cli.md"


def generated() -> str:
    """Return the text of docs/cli.md."""
    parts = ["# The command line\n\nGenerated from `--help`; do not edit: `make docs`.\n"]
    for path, command in _commands(("hilnas",), cli):
        names = cli.context_settings["help_option_names"]
        context = click.Context(
            command, info_name=" ".join(path), max_content_width=110, terminal_width=110, help_option_names=names
        )
        parts.append(f"## {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _commands(path: tuple[str, ...], command: click.Command) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                found += _commands((*path, name), inner)
    return found


def main() -> int:
    """Write the file, or with --check compare it; return the exit code."""
    text = generated()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write("docs/cli.md is out of date: run `make docs`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
