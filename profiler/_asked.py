"""What the options of the command line ask for, as values; every contradiction is an error that says what to write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hilnas.errors import UsageError
from hilnas.records import MeasurementProtocol, Workload, canonical_json
from hilnas.units import parse_quantity
from profiler._artifacts import ArtifactStore
from profiler._plan import architecture_workload, block_workloads, load_space, model_workload, sample_workloads
from profiler.importers._base import ImportRequest

_TABLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def asked_workloads(
    space: str | None,
    space_options: Sequence[str],
    samples: int | None,
    blocks: bool,
    architectures: Sequence[str],
    models: Sequence[Path],
    seed: int,
    artifacts: ArtifactStore,
) -> list[Workload]:
    """Return the workloads that the options of `hilnas profile` name; raise UsageError where they name none."""
    if models:
        if space or samples or blocks or architectures:
            raise UsageError("--model stands alone", "", "Profile models and a space in two commands.")
        workloads = [model_workload(path, artifacts) for path in models]
        if len({workload.key for workload in workloads}) < len(workloads):
            names = ", ".join(str(path) for path in models)
            raise UsageError(
                f"the same model is named twice: {names}", "Their bytes are equal, and so is their latency."
            )
        return workloads
    if space is None:
        raise UsageError(
            "nothing to measure was named", "", "Write --space nasbench201 --samples 60, or --model FILE.onnx"
        )
    built = load_space(space, space_options_json(space_options))
    workloads = [architecture_workload(built, built.parse(text)) for text in architectures]
    if samples:
        workloads += sample_workloads(built, samples, seed)
    if blocks:
        workloads += block_workloads(built)
    if not workloads:
        raise UsageError(
            f"nothing of the space {space!r} was named", "", "Add --samples N, --blocks or --architecture TEXT"
        )
    return workloads


def space_options_json(pairs: Sequence[str]) -> str:
    """Return `width=32` pairs as canonical JSON; raise UsageError for another form."""
    found = {}
    for pair in pairs:
        name, equals, number = pair.partition("=")
        if not equals or not number.isdigit():
            raise UsageError(f"cannot read the space option {pair!r}", "", "Write for instance --space-option width=32")
        found[name] = int(number)
    return canonical_json(found)


def asked_protocol(
    protocol: MeasurementProtocol,
    n_models: int = 1,
    invocations: int | None = None,
    rate: str | None = None,
    sustained: str | None = None,
) -> MeasurementProtocol:
    """Return a device's protocol as the options change it.

    Models that are compared get more invocations, since their ratio is the question. `rate` (10/s) paces the calls;
    `sustained` (30min) makes one long invocation, in which throttling shows.
    """
    if rate is not None:
        rate_hz = parse_quantity(rate, "rate")
        if not rate_hz:
            raise UsageError(f"--rate {rate}: nothing would ever be called")
        protocol = replace(protocol, rate_hz=rate_hz)
    if sustained is not None:
        sustained_s = parse_quantity(sustained, "time")
        return replace(protocol, sustained_s=sustained_s, min_invocations=1, max_invocations=1, sentinel_every=0)
    if n_models > 1:
        protocol = replace(protocol, min_invocations=12, max_invocations=24)
    if invocations is not None:
        protocol = replace(protocol, min_invocations=invocations, max_invocations=max(invocations, 2 * invocations))
    return protocol


def import_request(path: Path, name: str, space: str, units: Sequence[str]) -> ImportRequest:
    """Return what `hilnas data import` asks for; raise UsageError for a bad name or contradicting units."""
    if not _TABLE_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a table", "Letters, digits, '_', '-' and '.', at most 64.")
    rest = [unit for unit in units if "=" not in unit]
    if len(rest) > 1:
        raise UsageError(
            f"--unit names two units for the rest: {', '.join(rest)}", "", "Name the column: --unit COLUMN=UNIT"
        )
    by_column = dict(unit.split("=", 1) for unit in units if "=" in unit)
    return ImportRequest(path, name, space, rest[0] if rest else None, by_column)
