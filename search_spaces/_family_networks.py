"""The networks of a family: built by the user's function, traced once a process, failures kept as values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilnas.errors import HilnasError
from search_spaces._callables import importable, load_callable
from search_spaces._errors import CannotBuild
from search_spaces._family import Family, Value, parse_options, value_text
from search_spaces._graph import Graph

if TYPE_CHECKING:
    from torch import nn

_LONGEST = 500


@dataclass(frozen=True)
class Network:
    """What an architecture of a family has turned out to be: a graph with its fingerprint, or why there is none."""

    graph: Graph | None
    fingerprint: str = ""
    what: str = ""
    cause: str = ""


@lru_cache(maxsize=2048)
def network_of(family_json: str, decisions: tuple[int, ...]) -> Network:
    """Return the traced network of a family (its options as canonical JSON)."""
    from search_spaces._trace import fingerprint, trace
    from search_spaces._user_modules import seeded

    family = parse_options(json.loads(family_json))
    values = family.values(decisions)
    try:
        if not allows(family_json, decisions):
            raise CannotBuild("it lies outside the family", "An [[invalid]] entry or `valid` excludes it.")
        with failures("it does not run"):
            graph = seeded(lambda: trace(lambda: build_module(family, values)), 0)
    except HilnasError as error:
        return Network(None, what=error.what, cause=error.cause)
    return Network(graph, fingerprint(graph))


@lru_cache(maxsize=1 << 16)
def allows(family_json: str, decisions: tuple[int, ...]) -> bool:
    """Return whether neither an `invalid` entry nor `valid` excludes it; raise CannotBuild where `valid` fails."""
    family = parse_options(json.loads(family_json))
    values = family.values(decisions)
    if family.excluded(values):
        return False
    return not family.valid or bool(_called(family, family.valid, values))


def check_functions(family: Family) -> None:
    """Raise UsageError where the functions that a family names cannot be imported."""
    for target in filter(None, (family.build, family.valid)):
        load_callable(target, _folders(family))


def build_module(family: Family, values: Mapping[str, Value]) -> tuple[nn.Module, tuple[int, ...]]:
    """Return what `build` makes and its input shape; raise CannotBuild where it makes no module or none that fits."""
    from torch import nn

    made = _called(family, family.build, values)
    module, said = made if isinstance(made, tuple) and len(made) == 2 else (made, ())
    if not isinstance(module, nn.Module):
        returns = "An nn.Module, or a pair of one and its input shape, is expected."
        raise CannotBuild(f"{family.build} returns a {type(module).__name__}", returns)
    shape, wanted = _shape(family, said), family.shape(values)
    if not shape and not wanted:
        remedy = "Write input_shape into the file, or return (module, input_shape)."
        raise CannotBuild("its input shape is not known", f"Neither the family nor {family.build} says it. {remedy}")
    if shape and wanted and shape != wanted:
        raise CannotBuild(f"{family.build} says the input shape {shape}, the family {wanted}")
    return module, shape or wanted


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Turn whatever the user's code raises into CannotBuild."""
    try:
        yield
    except HilnasError:
        raise
    except (Exception, SystemExit) as error:
        raise CannotBuild(f"{what}: {type(error).__name__}: {error}"[:_LONGEST]) from error


def _called(family: Family, target: str, values: Mapping[str, Value]) -> Any:
    function: Callable[..., Any] = load_callable(target, _folders(family))
    call = f"{target}({', '.join(f'{name}={value_text(value)}' for name, value in values.items())})"
    with failures(f"{call} failed"), importable(_folders(family)):
        return function(**values)


def _folders(family: Family) -> tuple[Path, ...]:
    return (Path(family.folder),) if family.folder else ()


def _shape(family: Family, said: Any) -> tuple[int, ...]:
    """Return the input shape that `build` says, () where it says none."""
    try:
        shape = tuple(int(size) for size in said)
    except (TypeError, ValueError) as error:
        raise CannotBuild(f"{family.build} returns {said!r} as the input shape") from error
    if any(size < 1 for size in shape):
        raise CannotBuild(f"{family.build} returns {said!r} as the input shape", "Sizes are positive.")
    return shape
