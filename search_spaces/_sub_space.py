"""Parts of spaces whose networks are layers in a row: each layer keeps some of its candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from hilnas.errors import UsageError
from hilnas.records import Architecture

#: The decisions of one layer.
Candidate = tuple[int, ...]


@dataclass(frozen=True)
class SubSpace:
    """The networks that take one of these candidates in each layer.

    Raises UsageError for a layer without candidates, with one twice, or with candidates of unequal length.
    """

    layers: tuple[tuple[Candidate, ...], ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("a sub-space has at least one layer")
        for number, candidates in enumerate(self.layers, start=1):
            if not candidates or len(set(candidates)) < len(candidates):
                raise UsageError(f"layer {number} of a sub-space needs candidates, each of them once")
            if len({*map(len, candidates)}) > 1 or any(item < 0 for candidate in candidates for item in candidate):
                raise UsageError(f"the candidates of layer {number} are no indices of the same decisions")

    @property
    def networks(self) -> int:
        """Return how many networks it has."""
        return prod(map(len, self.layers))

    @property
    def candidates(self) -> int:
        """Return how many candidates its layers have together: what a supernet holds."""
        return sum(map(len, self.layers))

    def contains(self, architecture: Architecture) -> bool:
        """Return whether each layer of a network has one of the candidates."""
        sizes = [len(candidates[0]) for candidates in self.layers]
        if len(architecture.decisions) != sum(sizes):
            return False
        split = split_by(architecture.decisions, sizes)
        return all(own in candidates for own, candidates in zip(split, self.layers, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return the candidates as a JSON value."""
        return {"layers": [[list(candidate) for candidate in candidates] for candidates in self.layers]}

    @classmethod
    def from_json(cls, value: Any) -> SubSpace:
        """Return the sub-space of a value that `to_json` returned; raise UsageError for any other."""
        if not isinstance(value, Mapping) or set(value) != {"layers"}:
            raise UsageError("this is no sub-space", 'A JSON object {"layers": ...} is expected.')
        layers = _listed(value["layers"], lambda layer: _listed(layer, lambda candidate: _listed(candidate, _index)))
        return cls(layers)


def split_by(values: Sequence[int], sizes: Sequence[int]) -> tuple[Candidate, ...]:
    """Return the values in pieces of these sizes."""
    found, start = [], 0
    for size in sizes:
        found.append(tuple(values[start : start + size]))
        start += size
    return tuple(found)


def _listed(value: Any, read: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise UsageError("this is no sub-space", f"A list is expected, not {value!r:.40}.")
    return tuple(map(read, value))


def _index(value: Any) -> int:
    if type(value) is not int:  # a bool is one as well
        raise UsageError("this is no sub-space", f"An index is expected, not {value!r:.40}.")
    return value
