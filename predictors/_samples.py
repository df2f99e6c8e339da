"""What predictors learn from and are judged on: measured architectures, from the records or from a reference table."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices._config import DeviceConfig, find_device
from hilnas.errors import Inconclusive, UsageError
from hilnas.records import Architecture, Measurement
from predictors._entries import BlockEntry, EntryValue, measured_entry, runtime_text
from profiler._campaign import Progress, measure
from profiler._plan import (
    architecture_workload,
    block_key,
    block_workloads,
    recorded_architecture,
)
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace

_LOG = logging.getLogger("hilnas.samples")


@dataclass(frozen=True, eq=False)
class Samples:
    """Connected architectures with their seconds, shape (n,), and the medians of their invocations where known."""

    architectures: tuple[Architecture, ...]
    latency_s: NDArray[np.float64]
    medians: tuple[tuple[float, ...], ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.architectures)

    def take(self, places: Sequence[int]) -> Samples:
        """Return the samples at these places."""
        return Samples(
            tuple(self.architectures[i] for i in places),
            self.latency_s[list(places)],
            tuple(self.medians[i] for i in places),
        )

    @property
    def repeats(self) -> Mapping[str, tuple[float, ...]]:
        """Return the medians of invocations by architecture, where there are any."""
        return {item.text: found for item, found in zip(self.architectures, self.medians, strict=True) if found}


def is_table(device: str) -> bool:
    """Return whether a device is a column of a reference table."""
    return device.startswith("table:")


def check_device(workspace: Workspace, device: str, configs: Path | None) -> None:
    """Raise UnknownName for a device or table column that is not there."""
    if is_table(device):
        workspace.store.column_at(device)
    else:
        find_device(device, configs)


def recorded_samples(workspace: Workspace, device: str, space: SearchSpace) -> Samples:
    """Return what was measured well on a device in the space with these options, sorted by text."""
    measurements = workspace.store.measurements(device, space=space.name)
    medians = workspace.store.invocation_medians(device, space=space.name)
    return _samples(space, measurements, medians)


def measure_samples(
    workspace: Workspace,
    config: DeviceConfig,
    space: SearchSpace,
    architectures: Sequence[Architecture],
    seed: int,
    progress: Progress,
) -> tuple[str, Samples]:
    """Measure architectures in a campaign of their own; return its run_id and what was measured well.

    Raises Inconclusive when nothing was.
    """
    workloads = [architecture_workload(space, item) for item in architectures]
    done = measure(workspace, config, workloads, seed=seed, progress=progress, space=space.name)
    found = {
        key: [item.median_s for item in items if item.status == "ok" and item.median_s is not None]
        for key, items in workspace.store.invocations(done.run_id).items()
    }
    samples = _samples(space, done.measurements, found)
    if not len(samples):
        causes = "; ".join(sorted(set(done.summary.causes.values())))
        raise Inconclusive("nothing was measured well", causes, f"Look at: hilnas runs show {done.run_id}")
    return done.run_id, samples


def time_column(workspace: Workspace, address: str, space: SearchSpace) -> dict[str, float]:
    """Return architecture text -> seconds of a table's column, where there are any.

    Raises UsageError for a column that holds no times or belongs to another space.
    """
    column = workspace.store.column_at(address)
    if column.dimension != "time":
        raise UsageError(
            f"{address} holds {column.dimension}, not times", "Predictors learn times.", "See: hilnas data list"
        )
    if column.space != space.name:
        raise UsageError(f"{address} belongs to {column.space}, not to {space.name}", "", f"Add --space {column.space}")
    return {text: value for text, value in column.values.items() if value > 0}


def table_samples(workspace: Workspace, address: str, space: SearchSpace, n: int, seed: int, skip: set[str]) -> Samples:
    """Return n random connected architectures of a table's time column, no two of one canonical form, none in `skip`.

    Raises UsageError for a column that holds no times or belongs to another space, and when there are too few.
    """
    values = time_column(workspace, address, space)
    texts = sorted(values)
    forms = set(skip)
    found: list[Architecture] = []
    for place in np.random.default_rng(seed).permutation(len(texts)):
        architecture = space.parse(texts[place])
        form = space.canonical(architecture)
        if form in forms or not space.connected(architecture):
            continue
        forms.add(form)
        found.append(architecture)
        if len(found) == n:
            break
    if len(found) < n:
        raise UsageError(f"{address} has {len(found)} usable architectures, not {n}", "", "Ask for fewer.")
    times = np.array([values[item.text] for item in found])
    return Samples(tuple(found), times, ((),) * len(found))


def block_entries(workspace: Workspace, device: str, space: SearchSpace) -> dict[str, EntryValue]:
    """Return lookup key -> entry of the blocks that were measured well on a device, as JSON of `BlockEntry`."""
    wanted = {workload.key for workload in block_workloads(space)}
    return {key: entry.to_json() for key, entry in measured_entries(workspace, device, space, wanted).items()}


def measured_entries(
    workspace: Workspace, device: str, space: SearchSpace, wanted: Collection[str]
) -> dict[str, BlockEntry]:
    """Return lookup key -> entry of the blocks and pairs of blocks that were measured well; `wanted`: workload keys."""
    store = workspace.store
    found: dict[str, BlockEntry] = {}
    known: dict[str, tuple[str, str, str]] = {}
    for item, campaign in store.sourced(device, space=space.name, kind="block"):
        if item.status != "ok" or item.workload.key not in wanted:
            continue
        if campaign.run_id not in known:
            runtime = runtime_text(store.environment_facts(campaign.environment))
            known[campaign.run_id] = (campaign.environment or "", runtime, str(store.conditions([campaign.run_id])))
        found[block_key(item.workload)] = measured_entry(item, campaign.run_id, *known[campaign.run_id])
    return found


def measure_blocks(
    workspace: Workspace,
    config: DeviceConfig,
    space: SearchSpace,
    keys: Sequence[str],
    seed: int,
    progress: Progress,
) -> None:
    """Measure the blocks of these lookup keys in a campaign of their own."""
    workloads = [workload for workload in block_workloads(space) if block_key(workload) in set(keys)]
    measure(workspace, config, workloads, seed=seed, progress=progress, space=space.name)


def _samples(
    space: SearchSpace, measurements: Sequence[Measurement], medians: Mapping[str, Sequence[float]]
) -> Samples:
    changed = 0
    found: dict[str, tuple[Architecture, float, tuple[float, ...]]] = {}
    for item in measurements:
        if item.status != "ok" or item.latency_s is None:
            continue
        architecture = recorded_architecture(space, item.workload)
        if architecture is None:
            continue
        if architecture_workload(space, architecture).options != item.workload.options:
            changed += 1
        elif space.connected(architecture):
            found[architecture.text] = (architecture, item.latency_s, tuple(medians.get(item.workload.key, ())))
    if changed:
        _LOG.warning("%d measurements of %s are left out: they are of other networks now", changed, space.reference)
    rows = [found[text] for text in sorted(found)]
    times = np.array([row[1] for row in rows], dtype=float)
    return Samples(tuple(row[0] for row in rows), times, tuple(row[2] for row in rows))
