"""ONNX Runtime and numpy for boards that share the machine's Python: copied once to where every user may read."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

from farm._errors import FarmUnavailable
from farm._host import CACHE

_PACKAGES = ("numpy", "onnxruntime")


def host_runtime() -> Path:
    """Return a folder that holds both packages for /usr/bin/python3.

    Raises FarmUnavailable when they are not installed here, or for another version of Python.
    """
    _need_same_python()
    versions = [f"{name}-{_distribution(name).version}" for name in _PACKAGES]
    folder = CACHE / f"runtime-{'-'.join(versions)}-cp{sys.version_info[0]}{sys.version_info[1]}"
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        for name in _PACKAGES:
            _copy(name, part)
        _let_all_read(part)
        part.rename(folder)
    return folder


def broken_runtime(folder: Path) -> None:
    """Make a runtime whose library is of no known format, as a wheel of another architecture is."""
    library = folder / "onnxruntime" / "capi" / "onnxruntime_pybind11_state.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    library.write_bytes(b"\xcf\xfa\xed\xfe" + bytes(4096))
    (folder / "onnxruntime" / "__init__.py").write_text("from onnxruntime.capi import onnxruntime_pybind11_state\n")
    (folder / "onnxruntime" / "capi" / "__init__.py").write_text("")


def _need_same_python() -> None:
    words = [sys.executable, "/usr/bin/python3"]
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    ours, theirs = (subprocess.check_output([word, "-I", "-c", script], text=True).strip() for word in words)
    if ours != theirs:
        raise FarmUnavailable(
            "boards cannot import this environment's ONNX Runtime",
            f"It is made for Python {ours}; the boards' /usr/bin/python3 is {theirs}.",
            f"Run with Python {theirs}, or make boards without it: runtime=False",
        )


def _copy(name: str, target: Path) -> None:
    distribution = _distribution(name)
    tops = {path.parts[0] for path in distribution.files or [] if path.parts[0] not in ("..", "__pycache__")}
    for top in sorted(tops):
        source = Path(str(distribution.locate_file(top)))
        if source.is_dir():
            shutil.copytree(source, target / top, ignore=shutil.ignore_patterns("tests", "__pycache__"))


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise FarmUnavailable(
            f"{name} is not installed for {sys.executable}", "", "Install it, or make boards with runtime=False"
        ) from error


def _let_all_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
