"""The wheel holds the product, all of it and nothing else, and works without the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"hilnas", "devices", "search_spaces", "profiler", "predictors", "searchers", "reports"}
SOURCES = ("pyproject.toml", "README.md", "LICENSE", *PACKAGES)
#: Folders of the checkout that must not be shipped; copied as well, so that a greedy package list would be seen.
NOT_SHIPPED = ("tests", "farm", "benchmarks", "docs", "device_configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the wheel of a copy of the tree: building leaves nothing behind in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in (*SOURCES, *NOT_SHIPPED):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).is_file():
            shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return next((copy / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_exactly_the_packages(contents):
    folders = {name.split("/")[0] for name in contents}
    assert {name for name in folders if not name.endswith(".dist-info")} == PACKAGES
    sources = {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert {name for name in contents if name.endswith(".py")} == sources


def test_the_wheel_is_typed_and_brings_the_agent(contents):
    assert {f"{name}/py.typed" for name in PACKAGES} <= set(contents)
    assert "devices/agent/__main__.py" in contents
    assert any(name.startswith("devices/agent/backends/") for name in contents)


def test_the_wheel_names_its_commands(contents):
    text = next(data for name, data in contents.items() if name.endswith("entry_points.txt")).decode()
    assert "hilnas = hilnas.cli:main" in text
    assert "[hilnas.commands]" in text
    for line in text.split("[hilnas.commands]")[1].split("[")[0].split("\n"):
        if line.strip():
            module = line.split("=")[1].split(":")[0].strip()
            assert f"{module.replace('.', '/')}.py" in contents, line


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return a folder into which only the wheel is installed."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True, capture_output=True)
    return target


def run_installed(installed, folder, *arguments):
    """Run Python on the wheel alone: before everything else on the path, in a folder outside of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("HILNAS_WORKSPACE", None)
    environment.pop("HILNAS_DEVICE_CONFIGS", None)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_the_wheel_that_is_imported(installed, tmp_path):
    code = f"import importlib\nfor name in {sorted(PACKAGES)}: print(importlib.import_module(name).__file__)"
    files = [Path(line) for line in run_installed(installed, tmp_path, "-c", code).split()]
    assert len(files) == len(PACKAGES)
    assert all(path.is_relative_to(installed) for path in files)


def profile(installed, folder, *arguments):
    command = ("-m", "hilnas.cli", "--workspace", str(folder / "records"), "profile")
    said = run_installed(installed, folder, *command, *arguments, "--space", "nasbench201", "--json")
    assert (folder / "records").is_dir()
    return json.loads(said)


def test_the_wheel_profiles_the_fake_device(installed, tmp_path):
    found = profile(installed, tmp_path, "fake", "--samples", "3")
    assert (found["ok"], found["failed"], found["rejected"], found["pending"]) == (3, 0, 0, 0)


def test_the_wheel_profiles_this_machine(installed, tmp_path):
    """Other load on this machine rejects a measurement, rightly; that it was measured is what counts here."""
    found = profile(installed, tmp_path, "local_cpu", "--samples", "2", "--invocations", "1")
    assert (found["ok"] + found["rejected"], found["failed"], found["pending"]) == (2, 0, 0)
    assert found["invocations"] >= 2
    assert all("contended" in cause for cause in found["causes"].values()), found["causes"]


def check_python_3_6(folder):
    command = [sys.executable, "-c", "from vermin import main; main()", "--target=3.6-", "--violations", str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_agent_runs_on_python_3_6():
    """Boards with JetPack 4 have no newer one."""
    found = check_python_3_6(ROOT / "devices" / "agent")
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_newer_construct_in_the_agent_would_be_found(tmp_path):
    (tmp_path / "newer.py").write_text("if (n := 3) > 2: pass\n")
    found = check_python_3_6(tmp_path)
    assert found.returncode == 1
    assert "Minimum required versions: 3.8" in found.stdout
