"""Modules of the agent by their file names."""

import importlib
import pkgutil
from functools import lru_cache
from typing import Any, Tuple


def load(folder: str, name: str) -> Any:
    """Return one module of `backends` or `sensors`; raise ValueError for a name that is not there."""
    if name not in names(folder):
        raise ValueError("no such module in %s: %r" % (folder, name))
    return importlib.import_module(".%s.%s" % (folder, name), __package__)


@lru_cache(maxsize=None)
def names(folder: str) -> Tuple[str, ...]:
    """Return the names of the public modules of a folder, sorted; nothing is imported but the folder itself.

    The folder is read once: reading it again for every sensor took longer than reading the sensors.
    """
    package = importlib.import_module(".%s" % folder, __package__)
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")))
