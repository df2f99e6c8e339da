"""A machine whose settings are files and programs below a folder of the test."""

import os

import pytest


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Return the empty root that takes the machine's place."""
    monkeypatch.setenv("HILNAS_SENSOR_ROOT", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def plant(root):
    """Return a function that writes a file below the root."""

    def make(path, content):
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    return make


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return a function that puts a shell script on PATH, ahead of what the system has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name, script):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def user(monkeypatch, program):
    """Be somebody who is not root, with a sudo that runs what it is given."""
    monkeypatch.setattr("devices.agent.power._base.is_root", lambda: False)
    monkeypatch.setattr("devices.agent.power.governor.is_root", lambda: False)
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK and access(path, mode))
    program("sudo", 'test "$1" = -n && shift && exec "$@"')


@pytest.fixture
def refused(user, program):
    """Be somebody to whom sudo says no."""
    program("sudo", "echo 'sudo: a password is required' >&2; exit 1")
