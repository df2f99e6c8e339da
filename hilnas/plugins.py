"""A public module in a plug-in folder is a plug-in, found by its file name.

Listing imports no plug-in; only the chosen module is imported. Third parties add plug-ins by entry points in the
group `hilnas.<package>` (for instance `hilnas.devices`), whose value names the class.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from importlib.metadata import entry_points
from typing import TypeVar

from hilnas.errors import HilnasError, UnknownName

T = TypeVar("T")


def names(package: str) -> list[str]:
    """Return the names of all plug-ins of a package, sorted."""
    return sorted({*_own(package), *(entry.name for entry in entry_points(group=f"hilnas.{package}"))})


def load(package: str, name: str, base: type[T], noun: str | None = None) -> type[T]:
    """Return the class of one plug-in: the single concrete subclass of `base` that its module defines.

    Raises UnknownName for a name that is not there and HilnasError for a module that breaks the rule
    or whose own imports are missing.
    """
    noun = noun or package.rsplit(".", 1)[-1].removesuffix("s").replace("_", " ")
    if name in _own(package):
        return _only_class(_import(f"{package}.{name}", noun, name), base)
    for entry in entry_points(group=f"hilnas.{package}"):
        if entry.name == name:
            found = entry.load()
            if inspect.isclass(found) and issubclass(found, base):
                return found
            raise HilnasError(f"{entry.value} is no {base.__name__}", f"It is registered as {noun} {name!r}.")
    raise UnknownName(noun, name, names(package))


def _own(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    # A folder of modules whose own modules are plug-ins of another kind (`agent`) is no plug-in here.
    return [
        module.name
        for module in pkgutil.iter_modules(folders)
        if not module.name.startswith("_") and (package, module.name) not in _NOT_PLUGINS
    ]


#: Public sub-packages that hold something else than a plug-in of their parent.
_NOT_PLUGINS = {
    ("devices", "agent"),
    ("searchers", "evaluators"),
    ("searchers", "image_data"),
    ("searchers", "supernets"),
}


def _import(module: str, noun: str, name: str) -> object:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or str(error)
        raise HilnasError(
            f"{noun} {name!r} cannot be loaded: {error}",
            f"The module {missing!r} is not installed or does not fit.",
            f"Install it into this environment: pip install {missing.split('.')[0]}",
        ) from error


def _only_class(module: object, base: type[T]) -> type[T]:
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, base)
        and not inspect.isabstract(value)
        and value.__module__ == getattr(module, "__name__", None)
    ]
    if len(found) != 1:
        raise HilnasError(f"{module!r} must define exactly one concrete {base.__name__}, found {len(found)}")
    return found[0]
