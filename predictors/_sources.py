"""Other devices' times: what a predictor of a new device starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from hilnas.records import Architecture, canonical_json
from predictors._samples import is_table, recorded_samples, time_column
from profiler._plan import load_space
from profiler._source_pack import load_pack, shipped_packs
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace

#: A device with fewer connected architectures is no source.
MIN_SAMPLES = 20
#: So many architectures of a source are used: the same ones of every source that has them.
_MAX_SAMPLES = 900
#: Two devices are one where at least so many times have the same ratio, up to rounding.
_COMPARED, _EXACT = 10, 1e-5
_PACK = "source_pack:"


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
    """Return architecture text -> seconds of a device's records, a table's time column or `source_pack:NAME/DEVICE`.

    Raises UsageError for a column of another space or of something else than times.
    """
    if device.startswith(_PACK):
        return _pack_values(device, space)
    if not is_table(device):
        found = recorded_samples(workspace, device, space)
        return {item.text: float(value) for item, value in zip(found.architectures, found.latency_s, strict=True)}
    return time_column(workspace, device, space)


def source_values(workspace: Workspace, device: str, space: SearchSpace) -> dict[str, float]:
    """Return what `read_values` does; a column of another space is told apart from one of no times."""
    if is_table(device) and (column := workspace.store.column_at(device)).space != space.name:
        raise UsageError(
            f"the source {device} belongs to {column.space}, not to {space.reference}",
            "",
            f"Write {device}@{column.space}",
        )
    return read_values(workspace, device, space)


def source_of(name: str, values: Mapping[str, float], texts: Sequence[str], space: SearchSpace) -> Source:
    """Return a source of those of the texts that have a value and are connected; UsageError where they are too few."""
    usable = [space.parse(text) for text in texts if text in values]
    usable = [item for item in usable if space.connected(item)]
    if len(usable) < MIN_SAMPLES:
        raise UsageError(
            f"{name} has {len(usable)} usable architectures: too few for a source",
            f"At least {MIN_SAMPLES} are needed.",
            "See what there is: hilnas runs list, hilnas data list",
        )
    return Source(name, tuple(usable), np.array([values[item.text] for item in usable]))


def split_source(text: str) -> tuple[str, str | None]:
    """Return the device that `DEVICE` or `DEVICE@SPACE` names, and the space where it is another one."""
    device, at, space = text.rpartition("@")
    return (device, space) if at else (text, None)


def source_space(values: Mapping[str, Any], space: SearchSpace) -> SearchSpace:
    """Return the space that the JSON value of a source belongs to: `space`, where it names none."""
    return load_space(values["space"]) if values.get("space") else space


def find_sources(
    workspace: Workspace, space: SearchSpace, target: str, names: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return the sources for a target as JSON values, with `space` where they are of another one.

    None asks for every other device of the workspace with enough usable architectures of the space, and for the packs
    that ship; a copy of the target, or of a source that is there already, is left out. Raises UsageError for a name
    that is no source, or is the target itself.
    """
    if names is not None:
        return [_named(workspace, space, target, name) for name in names]
    known = [read_values(workspace, target, space)]
    found = []
    for name in _others(workspace, space, target):
        try:
            source = _read(workspace, name, space)
        except UsageError:
            continue  # too few of its architectures are usable
        values = {item.text: float(time) for item, time in zip(source.architectures, source.latency_s, strict=True)}
        if not any(_is_copy(values, other) for other in known):
            known.append(values)
            found.append(source.to_json())
    return found


def _is_copy(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Return whether two devices are one under two names: all times in one ratio."""
    ratios = [first[text] / second[text] for text in first.keys() & second.keys()]
    return len(ratios) >= _COMPARED and max(ratios) - min(ratios) <= _EXACT * min(ratios)


def _named(workspace: Workspace, space: SearchSpace, target: str, name: str) -> dict[str, Any]:
    device, other = split_source(name)
    if other not in (None, space.reference):
        return {**_read(workspace, device, load_space(other)).to_json(), "name": name, "space": other}
    if device == target:
        raise UsageError(f"{target} cannot be a source of itself", "", "Leave it out of --sources.")
    return _read(workspace, device, space).to_json()


def _read(workspace: Workspace, device: str, space: SearchSpace) -> Source:
    values = source_values(workspace, device, space)
    texts = sorted(values)
    places = np.random.default_rng(0).permutation(len(texts))[:_MAX_SAMPLES]
    return source_of(device, values, [texts[i] for i in sorted(places)], space)


def _others(workspace: Workspace, space: SearchSpace, target: str) -> Iterator[str]:
    """Yield all that may be a source of the target: recorded devices, columns of times, packs that are not imported."""
    runs = {row.device for row in workspace.store.campaigns() if row.space == space.name}
    columns = [item for item in workspace.store.table_columns() if item.space == space.name]
    tables = {item.address for item in columns if item.dimension == "time"}
    yield from sorted({name for name in runs if not name.startswith(("table:", "run:"))} - {target})
    yield from sorted(tables - {target})
    for name in shipped_packs():
        pack = load_pack(name)
        if pack.provenance.get("space") != space.name:
            continue
        for device in pack.tables:
            if device != target and f"table:{name}/{device}" not in {*tables, target}:
                yield f"{_PACK}{name}/{device}"


def _pack_values(address: str, space: SearchSpace) -> dict[str, float]:
    """Return the times of `source_pack:NAME/DEVICE`; none where the pack was measured with other options."""
    name, _, device = address.removeprefix(_PACK).partition("/")
    pack = load_pack(name)
    values = pack.latencies(device)
    if pack.provenance.get("space") != space.name:
        raise UsageError(f"{address} is not of {space.name}", "", f"Write {address}@{pack.provenance.get('space')}")
    options = canonical_json(dict(space.options))
    if pack.provenance.get("space_options", options) != options:
        return {}
    return {space.parse(text).text: value for text, value in values.items()}
