"""What an evaluation knows: times of the target and, by search space, those of the devices it may learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture
from predictors._sources import MIN_SAMPLES, Source, read_values, source_values, split_source
from predictors._views import views_of
from profiler._plan import load_space
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace

Array = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Known:
    """Devices of one space: connected architectures, and seconds by device, shape (n,), NaN where it has none.

    It goes to other processes, a space may not: `kind` and `options` make it again. `foreign` is what loads the space
    where it is not the target's, else nothing.
    """

    kind: type[SearchSpace]
    options: Mapping[str, Any]
    foreign: str
    architectures: tuple[Architecture, ...]
    latency_s: Mapping[str, Array]
    sources: tuple[str, ...]

    def space(self) -> SearchSpace:
        """Return the space."""
        return self.kind(**self.options)

    def draw(self, n: int, rng: np.random.Generator) -> Places:
        """Return the places of n random architectures that a source has a time of; all where they are fewer."""
        if not self.sources:
            return np.zeros(0, dtype=np.intp)
        there = np.any([np.isfinite(self.latency_s[name]) for name in self.sources], axis=0)
        return np.sort(rng.permutation(np.flatnonzero(there))[:n])

    def source(self, name: str, places: Places) -> dict[str, Any]:
        """Return the JSON of a source that has been measured at these places; UsageError where it has too few times."""
        there = places[np.isfinite(self.latency_s[name][places])]
        if len(there) < MIN_SAMPLES:
            raise UsageError(
                f"{name} has times of {len(there)} of the {len(places)} architectures drawn: too few for a source",
                f"At least {MIN_SAMPLES} are needed.",
                "Draw more (--source-samples N), or leave it out of --sources.",
            )
        found = Source(name, tuple(self.architectures[i] for i in there), self.latency_s[name][there])
        return {**found.to_json(), **({"space": self.foreign} if self.foreign else {})}


def known_devices(
    workspace: Workspace, space: SearchSpace, target: str, sources: Sequence[str]
) -> tuple[Known, tuple[Known, ...]]:
    """Return what is known in the target's space, the target included, and in every other one.

    A source is a device, or `DEVICE@SPACE` where it was measured in another space than the target. Raises UsageError
    for a target that is its own source and for columns of no times, UnknownName for what is not there.
    """
    names: dict[str, list[str]] = {}
    for text in dict.fromkeys(sources):
        device, reference = split_source(text)
        names.setdefault(reference or space.reference, []).append(device)
    own = list(dict.fromkeys(names.pop(space.reference, [])))
    if target in own:
        raise UsageError(f"{target} cannot be a source of itself", "", "Leave it out of --sources.")
    values = {target: read_values(workspace, target, space)}
    values |= {name: source_values(workspace, name, space) for name in own}
    others = (_foreign(workspace, reference, devices) for reference, devices in names.items())
    return _known(space, "", values, own), tuple(others)


def _foreign(workspace: Workspace, reference: str, devices: Sequence[str]) -> Known:
    space = load_space(reference)
    values = {f"{name}@{reference}": source_values(workspace, name, space) for name in devices}
    return _known(space, reference, values, list(values))


def _known(space: SearchSpace, foreign: str, values: Mapping[str, Mapping[str, float]], sources: list[str]) -> Known:
    parsed = [space.parse(text) for text in sorted(set().union(*values.values()))]
    live = views_of(space).connected(parsed) if parsed else np.zeros(0, dtype=bool)
    found = tuple(parsed[i] for i in np.flatnonzero(live))
    latency_s = {name: np.array([times.get(item.text, np.nan) for item in found]) for name, times in values.items()}
    return Known(type(space), dict(space.options), foreign, found, latency_s, tuple(sources))
