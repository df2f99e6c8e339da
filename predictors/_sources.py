"""Other devices' times of one space: what a predictor of a new device starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture
from predictors._samples import is_table, recorded_samples, time_column
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace

#: A device with fewer connected architectures is no source.
MIN_SAMPLES = 20


@dataclass(frozen=True, eq=False)
class Source:
    """One device: its connected architectures and their seconds, shape (n,)."""

    name: str
    architectures: tuple[Architecture, ...]
    latency_s: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        texts = [item.text for item in self.architectures]
        return {"name": self.name, "architectures": texts, "latency_s": self.latency_s.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], space: SearchSpace) -> Source:
        """Return the source of a JSON value; raise ValueError for times that are none or lengths that differ."""
        times = np.array(values["latency_s"], dtype=float)
        architectures = tuple(space.parse(text) for text in values["architectures"])
        if times.shape != (len(architectures),) or not np.all(np.isfinite(times) & (times > 0)):
            raise ValueError(f"the source {values['name']!r} has times that are not positive, or not one each")
        return cls(str(values["name"]), architectures, times)


def read_values(workspace: Workspace, device: str, space: SearchSpace) -> dict[str, float]:
    """Return architecture text -> seconds of a device's records or of a table's time column.

    Raises UsageError for a column of another space or of something else than times.
    """
    if not is_table(device):
        found = recorded_samples(workspace, device, space)
        return {item.text: float(value) for item, value in zip(found.architectures, found.latency_s, strict=True)}
    return time_column(workspace, device, space)


def source_of(name: str, values: Mapping[str, float], texts: Sequence[str], space: SearchSpace) -> Source:
    """Return a source of those of the texts that have a value and are connected; UsageError where they are too few."""
    usable = [space.parse(text) for text in texts if text in values]
    usable = [item for item in usable if space.graph(item).connected]
    if len(usable) < MIN_SAMPLES:
        raise UsageError(
            f"{name} has {len(usable)} usable architectures: too few for a source",
            f"At least {MIN_SAMPLES} are needed.",
        )
    return Source(name, tuple(usable), np.array([values[item.text] for item in usable]))
