"""`hilnas compare --additivity`: does the time of a network add up from its blocks, and where it does not, why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices._config import DeviceConfig, find_device
from hilnas.errors import UsageError
from predictors._audit import Findings, audit
from predictors._comparing import new_id, store_comparison
from predictors._entries import BlockEntry, EntryValue
from predictors._errors import MissingEntries
from predictors._linear import fit_line
from predictors._pairs import adjacent_blocks, keys_to_measure, pair_workloads, pairs_to_measure
from predictors._samples import (
    Samples,
    block_entries,
    check_device,
    is_table,
    measure_blocks,
    measure_samples,
    measured_entries,
    recorded_samples,
)
from predictors._suggesting import with_options
from predictors.lookup_table import MIN_FOR_CHOICES, LookupTable
from profiler._campaign import Progress, measure, silent
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace
from search_spaces._graph import Block

Array = NDArray[np.float64]
Pair = tuple[Block, Block]
MAX_PAIRS = 60


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What is asked for: networks to have at least, pairs of blocks to have at most; measured now or `recorded`."""

    device: str
    n: int = 30
    pairs: int = MAX_PAIRS
    seed: int = 0
    recorded: bool = False


@dataclass(frozen=True)
class AuditReport:
    """What the audit has found, what of it was measured now, and what the runtime's own profiles say of layers.

    `pairs_missing`: pairs that occur and are not measured; `remedy` the command to go on with.
    """

    comparison_id: str
    request: AuditRequest
    space: str
    n_networks_measured: int
    n_blocks_measured: int
    n_pairs_measured: int
    pairs_missing: int
    findings: Findings
    layers: Mapping[str, Any] | None
    remedy: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return {
            "comparison_id": self.comparison_id,
            "device": self.request.device,
            "space": self.space,
            "n_networks_measured": self.n_networks_measured,
            "n_blocks_measured": self.n_blocks_measured,
            "n_pairs_measured": self.n_pairs_measured,
            "pairs_missing": self.pairs_missing,
            **self.findings.to_json(),
            "layers": self.layers,
            "next": self.remedy,
        }


def audit_device(
    workspace: Workspace,
    space: SearchSpace,
    request: AuditRequest,
    configs: Path | None = None,
    progress: Progress = silent,
) -> AuditReport:
    """Audit what is recorded for a device, measuring first what is not there unless only records are asked for.

    Raises UsageError for a table, and where records alone do not suffice; NoBlocks for a space that has none;
    MissingEntries where blocks are missing.
    """
    if is_table(request.device):
        raise UsageError(
            f"{request.device} holds whole networks only: nothing to add up", "An audit needs the times of blocks."
        )
    space.blocks()  # raises NoBlocks before anything is measured
    config = None if request.recorded else find_device(request.device, configs)
    if not any(row.device == request.device for row in workspace.store.campaigns()):
        check_device(workspace, request.device, configs)
    samples, n_networks = _networks(workspace, space, request, config, progress)
    entries, n_blocks = _entries(workspace, space, request, config, progress)
    uses = adjacent_blocks([space.graph(item) for item in samples.architectures])
    table = {key: BlockEntry.of(value) for key, value in entries.items()}
    pairs = pairs_to_measure(uses, table, request.pairs)
    measured, n_pairs = _measured_pairs(workspace, space, request, pairs, config, progress)
    findings = audit(space, entries, samples, pairs, uses, measured, request.seed)
    missing = len(pairs) - len(findings.pairs)
    fit = f"hilnas fit {request.device} --predictor lookup_table --space {space.reference}"
    again = f"hilnas compare {request.device} --additivity --space {space.reference}"
    now = datetime.now(UTC)
    report = AuditReport(
        new_id(now),
        request,
        space.name,
        n_networks,
        n_blocks,
        n_pairs,
        missing,
        findings,
        _layers(workspace, request.device, space),
        with_options(again if missing else fit, space),
    )
    store_comparison(workspace, report.comparison_id, now, request.seed, report.to_json())
    return report


def _networks(
    workspace: Workspace, space: SearchSpace, request: AuditRequest, config: DeviceConfig | None, progress: Progress
) -> tuple[Samples, int]:
    """Return the networks that are recorded and how many of them were measured now."""
    samples = recorded_samples(workspace, request.device, space)
    missing = request.n - len(samples)
    if config is not None and missing > 0:
        known = frozenset(space.canonical(item) for item in samples.architectures)
        new = space.sample_distinct(missing, request.seed, exclude=known)
        measure_samples(workspace, config, space, new, request.seed, progress)
        before, samples = len(samples), recorded_samples(workspace, request.device, space)
        return samples, len(samples) - before
    if len(samples) < MIN_FOR_CHOICES:
        raise UsageError(
            f"{len(samples)} networks of {space.name} are recorded for {request.device}; an audit needs"
            f" {MIN_FOR_CHOICES} or more",
            "",
            with_options(
                f"Measure some: hilnas profile {request.device} --space {space.reference} --samples {request.n}", space
            ),
        )
    return samples, 0


def _entries(
    workspace: Workspace, space: SearchSpace, request: AuditRequest, config: DeviceConfig | None, progress: Progress
) -> tuple[dict[str, EntryValue], int]:
    """Return the entries of all blocks and how many were measured now."""
    known = block_entries(workspace, request.device, space)
    missing = LookupTable(space, entries=known).requests()
    if config is not None and missing:
        measure_blocks(workspace, config, space, missing, request.seed, progress)
        known = block_entries(workspace, request.device, space)
    still = LookupTable(space, entries=known).requests()
    if still:
        raise MissingEntries(
            f"{len(still)} blocks of {space.name} have no times on {request.device}: {', '.join(still)}",
            "They were not measured, or not well enough.",
            with_options(f"Measure them: hilnas profile {request.device} --space {space.reference} --blocks", space),
        )
    return known, len(missing)


def _measured_pairs(
    workspace: Workspace,
    space: SearchSpace,
    request: AuditRequest,
    pairs: Sequence[Pair],
    config: DeviceConfig | None,
    progress: Progress,
) -> tuple[dict[str, BlockEntry], int]:
    """Return the entries of pairs and of what they are compared with, and how many were measured now."""
    workloads = pair_workloads(space, keys_to_measure(pairs))
    wanted = {workload.key for workload in workloads}
    known = measured_entries(workspace, request.device, space, wanted)
    missing = [item for item in workloads if item.subject.split(":", 2)[2] not in known]
    if config is None or not missing:
        return known, 0
    measure(workspace, config, missing, seed=request.seed, progress=progress, space=space.name)
    return measured_entries(workspace, request.device, space, wanted), len(missing)


def _layers(workspace: Workspace, device: str, space: SearchSpace) -> dict[str, Any] | None:
    """Return how the runtime's own layer times add up to whole networks; None where no network was profiled."""
    campaigns = {campaign.run_id for _, campaign in workspace.store.sourced(device, space=space.name)}
    profiles = [item for run_id in sorted(campaigns) for item in workspace.store.layer_profiles(run_id)]
    profiles = [item for item in profiles if item.workload.kind == "architecture"]
    if not profiles:
        return None
    sums = np.array([[item.sum_s] for item in profiles])
    whole = np.array([item.latency_s or item.plain_s for item in profiles])
    line = fit_line(sums, whole)
    return {
        "n": len(profiles),
        "ratio": float(np.median(whole / sums[:, 0])),
        "a_s": line.intercept,
        "b": float(line.coefficients[0]),
        "residual_sd": float((whole / line(sums) - 1).std()),
    }
