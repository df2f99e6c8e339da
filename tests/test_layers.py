"""Imports go down the layers, never up and never sideways."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {
    "hilnas": 0,
    "devices": 1,
    "search_spaces": 1,
    "profiler": 2,
    "predictors": 3,
    "searchers": 4,
    "reports": 5,
}


def imported_packages(text):
    """Return line -> top-level package of every import, those inside functions included."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append((node.lineno, node.module.split(".")[0]))
    return found


def violations(package, text):
    """Return the imports of one file that go up, sideways, or out of the shipped packages."""
    outside = {"tests", "farm", "benchmarks", "docs"}
    return [
        (line, name)
        for line, name in imported_packages(text)
        if name in outside or (name != package and LAYERS.get(name, -1) >= LAYERS[package])
    ]


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_down(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    assert not [(str(path), *bad) for path in files for bad in violations(package, path.read_text())]


@pytest.mark.parametrize(
    ("package", "text", "bad"),
    [
        ("hilnas", "import devices._base", True),
        ("devices", "from search_spaces._graph import Graph", True),
        ("search_spaces", "def f():\n    from devices import _base", True),
        ("profiler", "if TYPE_CHECKING:\n    import click, searchers", True),
        ("predictors", "from tests import helpers", True),
        ("reports", "import searchers, predictors, profiler, devices, search_spaces, hilnas", False),
        ("devices", "from . import _wire\nfrom devices._base import Device\nimport json", False),
    ],
)
def test_a_planted_violation_is_found(package, text, bad):
    assert bool(violations(package, text)) is bad


def test_the_agent_imports_nothing_of_ours():
    """It is pushed to boards where no package of ours is installed."""
    files = sorted((ROOT / "devices" / "agent").rglob("*.py"))
    assert files
    assert not [
        (path.name, name) for path in files for _, name in imported_packages(path.read_text()) if name in LAYERS
    ]
