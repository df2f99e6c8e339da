"""Boards made of fixtures: trees of files below a root, and programs that say what a real one said."""

import shlex
from pathlib import Path

import pytest

BOARDS = Path(__file__).parents[2] / "fixtures" / "boards"


@pytest.fixture
def output():
    """Return a function that gives a golden output by its file's name."""
    return lambda name: (BOARDS / f"{name}.txt").read_text()


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Return a function that makes the files of a tree, and of a mapping, what the sensors read."""
    root = tmp_path / "root"
    monkeypatch.setenv("HILNAS_SENSOR_ROOT", str(root))

    def make(tree=None, files=None):
        lines = (BOARDS / f"{tree}.tree").read_text().splitlines() if tree else []
        found = dict(line.split(" = ", 1) for line in lines) | (files or {})
        for name, content in found.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content.replace("\\0", "\0").replace("\\n", "\n").replace("\\t", "\t") + "\n")
        return root

    return make


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return a function that puts a program on PATH: what it says by its arguments, or a script of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name, answers=None, script=""):
        lines = ["#!/bin/sh", 'case "$*" in']
        for arguments, text in (answers or {}).items():
            lines.append(f"{shlex.quote(arguments)}) printf %s {shlex.quote(text)}; exit 0;;")
        path = folder / name
        path.write_text(script or "\n".join([*lines, "esac", "exit 255"]) + "\n")
        path.chmod(0o755)
        return path

    return make
