import json
import re
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points

import click
import pytest
from click.testing import CliRunner

from hilnas import __version__, cli, output
from hilnas.errors import DeviceError, GateFailed, HilnasError, Inconclusive, Infeasible, UsageError

HEAVY = {"torch", "numpy", "rich", "pydantic", "onnx", "onnxruntime", "sklearn", "scipy", "plotly", "paramiko"}


def test_starting_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-c", "import hilnas.cli"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in said.splitlines() if "|" in line}
    assert "click" in imported
    assert not imported & HEAVY


def test_help_imports_nothing_heavy():
    """Every command's group is loaded for its one line of help."""
    code = (
        "import sys; from click.testing import CliRunner; from hilnas.cli import cli; "
        "answer = CliRunner().invoke(cli, ['--help']); print(answer.exit_code, *sorted(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "0"
    assert not {name.split(".")[0] for name in said[1:]} & HEAVY


def test_help_lists_the_commands_in_the_order_of_use():
    said = subprocess.run([sys.executable, "-m", "hilnas.cli", "--help"], capture_output=True, text=True, check=True)
    listed = re.findall(r"^  ([a-z]+) {2,}", said.stdout.split("Commands:")[1], re.MULTILINE)
    assert listed[:3] == ["devices", "profile", "runs"]
    assert listed == sorted(listed, key=cli._rank)
    assert len(listed) <= 12


def test_a_command_that_cannot_be_loaded_disturbs_only_itself(monkeypatch):
    broken = EntryPoint("broken", "no_such_package_at_all._cli:broken", "hilnas.commands")
    monkeypatch.setattr(cli, "entry_points", lambda group: [broken, *entry_points(group=group)])
    said = CliRunner().invoke(cli.cli, ["--help"])
    assert said.exit_code == 0
    assert "profile" in said.output
    assert "Cannot be loaded" in said.output
    said = CliRunner().invoke(cli.cli, ["broken", "sub", "--option", "3"])
    assert isinstance(said.exception, HilnasError)
    assert "no_such_package_at_all" in said.exception.what


def test_the_version_has_one_source():
    said = CliRunner().invoke(cli.cli, ["--version"])
    assert said.output.strip() == f"hilnas, version {__version__}"


def run_main(monkeypatch, capsys, raised):
    def fail(**_):
        raise raised

    monkeypatch.setattr(cli.cli, "main", fail)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (HilnasError("x"), 1),
        (UsageError("x"), 2),
        (click.UsageError("x"), 2),
        (Infeasible("x"), 3),
        (GateFailed("x"), 3),
        (DeviceError("x"), 4),
        (Inconclusive("x"), 5),
        (click.Abort(), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_exit_codes(monkeypatch, capsys, raised, code):
    found, said = run_main(monkeypatch, capsys, raised)
    assert found == code
    assert said.out == ""
    assert said.err


def test_an_error_says_its_three_parts_on_stderr(monkeypatch, capsys):
    _, said = run_main(monkeypatch, capsys, UsageError("it broke", "because of this", "do that"))
    assert said.err == "error: it broke\n  because of this\n  do that\n"


def test_an_unknown_command_is_misuse():
    said = subprocess.run([sys.executable, "-m", "hilnas.cli", "no_such_command"], capture_output=True, text=True)
    assert said.returncode == 2
    assert "no_such_command" in said.stderr
    assert said.stdout == ""


def test_json_answers_name_versions_and_seed(capsys):
    output.show_json(output.answer({"latency_s": float("nan"), "nested": [{"x": float("inf")}, 1.5]}, seed=3))
    said = json.loads(capsys.readouterr().out)
    assert said["schema_version"] == output.SCHEMA_VERSION
    assert said["versions"]["hilnas"] == __version__
    assert said["seed"] == 3
    assert said["latency_s"] is None
    assert said["nested"] == [{"x": None}, 1.5]


def test_square_brackets_are_printed_as_they_are(capsys):
    output.show_table(["[name]"], [["[meter] argv = [program]"], ["[red]x[/red]"], ["[/]"]], title="[title]")
    said = capsys.readouterr().out
    for text in ("[name]", "[meter] argv = [program]", "[red]x[/red]", "[/]", "[title]"):
        assert text in said


def test_tables_keep_every_cell_on_one_line_without_a_terminal(capsys):
    output.show_table(["name", "value"], [["x" * 100, 0.000123456], ["missing", None]])
    said = capsys.readouterr().out
    assert "x" * 100 in said
    assert "0.0001235" in said
    assert "n/a" in said
