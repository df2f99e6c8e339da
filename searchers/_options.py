"""`NAME=VALUE` pairs of the command line as keyword options of a plug-in."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from hilnas.errors import UnknownName, UsageError


def option_defaults(kind: type) -> dict[str, Any]:
    """Return the keyword options of a class with their defaults; with `**options` those of its base as well."""
    parameters = inspect.signature(kind).parameters.values()
    own = {item.name: item.default for item in parameters if item.kind is item.KEYWORD_ONLY}
    handed_on = any(item.kind is item.VAR_KEYWORD for item in parameters)
    return {**option_defaults(kind.__mro__[1]), **own} if handed_on else own


def split_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Return `NAME=VALUE` texts as a mapping; raise UsageError for another form."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"cannot read the option {pair!r}", "", "Write NAME=VALUE, for instance samples=10")
        found[name] = value
    return found


def read_options(texts: Mapping[str, str], defaults: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return options with the types of their defaults; raise UnknownName or UsageError naming the owner."""
    unknown = next((name for name in texts if name not in defaults), None)
    if unknown is not None:
        raise UnknownName(f"option of {owner}", unknown, defaults)
    return {name: _value(name, text, defaults[name]) for name, text in texts.items()}


def _value(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise UsageError(f"the option {name} is true or false, not {text!r}")
        return text.lower() == "true"
    try:
        return type(default)(text)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the option {name} is a {type(default).__name__}, not {text!r}") from error
