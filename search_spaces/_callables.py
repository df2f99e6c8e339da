"""Functions of the user: found by `package.module:function`, never imported before they are needed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import reduce
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from hilnas.errors import UsageError


def load_callable(target: str, folders: Sequence[Path] = ()) -> Callable[..., Any]:
    """Return what `package.module:function` names, looked for in the folders and the current directory first.

    Raises UsageError where there is no such module or function, where importing it fails, and where a module of that
    name from elsewhere is already in use.
    """
    name, _, path = target.partition(":")
    with importable(folders):
        module = _module(name, target, folders)
    try:
        found = reduce(getattr, path.split("."), module)
    except AttributeError as error:
        raise UsageError(f"{target}: the module {name} has no {path}", f"It is {module.__file__}.") from error
    if not callable(found):
        raise UsageError(f"{target} is a {type(found).__name__} and cannot be called")
    return found  # type: ignore[no-any-return]


@contextmanager
def importable(folders: Sequence[Path] = ()) -> Iterator[None]:
    """Let modules in the folders and in the current directory be imported inside the block, before all others."""
    added = [str(folder.resolve()) for folder in (*folders, Path.cwd())]
    sys.path[:0] = added
    try:
        yield
    finally:
        for item in added:
            with suppress(ValueError):  # the user's own code may have removed it
                sys.path.remove(item)


def _module(name: str, target: str, folders: Sequence[Path]) -> Any:
    _refuse_another(name.partition(".")[0], target, folders)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        looked = ", ".join(str(folder.resolve()) for folder in (*folders, Path.cwd()))
        raise UsageError(
            f"{target} cannot be imported: {error}", f"Modules are looked for in {looked} and where Python finds them."
        ) from error
    except (Exception, SystemExit) as error:  # a module of the user may raise anything
        raise UsageError(f"{target} cannot be imported: {type(error).__name__}: {error}") from error


def _refuse_another(top: str, target: str, folders: Sequence[Path]) -> None:
    """Raise UsageError where Python already holds another module of this name than the one that is meant."""
    held = getattr(sys.modules.get(top), "__file__", None)
    meant = PathFinder.find_spec(top, [str(folder.resolve()) for folder in (*folders, Path.cwd())])
    if held is None or meant is None or meant.origin is None or Path(held).resolve() == Path(meant.origin).resolve():
        return
    raise UsageError(
        f"{target} would be {meant.origin}, but {held} of the same name is in use", "", "Give one of them another name."
    )
