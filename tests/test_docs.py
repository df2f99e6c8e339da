"""Documentation that cannot lie: help is generated, commands in documents exist and parse, versions agree."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hilnas import __version__
from hilnas.cli import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "device_configs" / "README.md"]
COMMAND = re.compile(r"^(?:\$ )?(hilnas [^|#\n]*)", re.MULTILINE)


def commands_in(path):
    blocks = re.findall(r"```(?:bash|console|sh)\n(.*?)```", path.read_text(), re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [match.split(" > ")[0].strip() for match in COMMAND.findall(joined)]


def test_the_help_in_the_documents_is_that_of_the_commands():
    """In a process of its own: a command remembers how its help option was first spelled."""
    checked = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_a_document_parses(path):
    for text in commands_in(path):
        arguments = shlex.split(text)[1:]
        command = cli
        while isinstance(command, click.Group):
            name = arguments.pop(0)
            command = command.get_command(click.Context(command), name)
            assert command is not None, f"{path.name}: no command {name!r}"
        command.make_context(name, arguments)


def test_the_readme_shows_the_main_commands():
    found = " ".join(commands_in(ROOT / "README.md"))
    for word in ("profile", "fit", "search", "compare", "data import", "devices"):
        assert f"hilnas {word}" in found


def all_commands(path, command):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from all_commands((*path, name), command.get_command(context, name))


@pytest.mark.parametrize(("path", "command"), list(all_commands(("hilnas",), cli)), ids=lambda value: str(value)[:60])
def test_every_command_has_help_an_example_and_json(path, command):
    assert command.help and "Example" in command.help
    if not isinstance(command, click.Group):
        assert any("--json" in option.opts for option in command.params)


def test_there_are_at_most_twelve_commands():
    assert len(cli.list_commands(click.Context(cli))) <= 12


def test_the_changelog_begins_with_this_version():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == __version__
