"""Gates: conditions on figures that decide a command's exit code, such as `within_10>=0.9`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from hilnas.errors import UnknownName, UsageError

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_GATE = re.compile(
    r"\s*(?P<name>[a-z_0-9]+)\s*(?P<sign>>=|<=|>|<)\s*(?P<limit>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition on one figure."""

    name: str
    sign: str
    limit: float

    def holds(self, value: float | None) -> bool:
        """Return whether a figure meets the condition; one that is missing or NaN does not."""
        return value is not None and _COMPARE[self.sign](value, self.limit)

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.limit:g}"


def parse_gate(text: str, figures: Collection[str]) -> Gate:
    """Return the gate of a text; raise UsageError for another form and UnknownName for a figure that is not there."""
    match = _GATE.fullmatch(text)
    if match is None:
        raise UsageError(f"cannot read the gate {text!r}", "", 'Write for instance --gate "within_10>=0.9"')
    if match["name"] not in figures:
        raise UnknownName("figure", match["name"], figures)
    return Gate(match["name"], match["sign"], float(match["limit"]))
