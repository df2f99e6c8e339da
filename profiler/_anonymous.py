"""Measurements of a device as a record that others can merge: what was measured, on what hardware, and how; not whose.

What may leave is listed, everything else stays: no name of a device, host or user, no path, no serial number or UUID,
no date or time. Texts that look like one of these although they stand where a model's name should are left out too.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hilnas import __version__, plugins
from hilnas.errors import Inconclusive, UsageError
from hilnas.records import Measurement, Workload
from profiler._campaign_records import CampaignRow
from profiler._metrics import metric_of
from profiler._plan import block_copies, block_key
from profiler._store import Store
from search_spaces._base import SearchSpace

#: What identifies the record; its importer looks for it.
FORMAT = "hilnas-measurements"
SCHEMA = 1

_HOST = (
    "machine", "bits", "system", "python", "implementation", "libc", "cpu_model", "cpus", "usable_cpus", "virtual",
)  # fmt: skip
_RUNTIME = ("name", "version", "cuda", "cudnn")
_OPTIONS = (
    "threads", "optimization", "spinning", "affinity", "provider", "strict", "precision", "workspace_mib", "copies",
)  # fmt: skip
_POWER = ("governor", "clocks", "power_mode")
_STATE = {
    "board": ("model", "cpu_parts"),
    "cpu_clock": ("governors", "limits_hz"),
    "jetson_clocks": ("locked",),
    "jetson_power_mode": ("id", "name"),
    "l4t_release": ("l4t",),
    "nvml": ("name", "driver", "power_limit_w"),
}
#: Paths, addresses, identifiers, clock times: nothing that a model's name or a version contains.
_PRIVATE = re.compile(
    r"(^|[\s=:,;(])[~/\\]|[A-Za-z]:\\|\S@\S+|(?<!\d)(\d{1,3}\.){3}\d{1,3}(?![.\d])|([0-9a-f]{2}[:-]){5}[0-9a-f]{2}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-|[0-9a-f]{16}|\d{4}-\d\d-\d\d|\d\d:\d\d",
    re.IGNORECASE,
)
#: A version of four numbers, which may look like an address: three of them tell enough.
_FOUR_NUMBERS = re.compile(r"(\d+\.\d+\.\d+)\.\d+")
_MAX_TEXT = 120

_Sourced = tuple[Measurement, CampaignRow]


def anonymous_record(store: Store, device: str, space: str | None = None, blocks: bool = False) -> dict[str, Any]:
    """Return what was measured well on a device in one space, or of its blocks, as a JSON value in SI units.

    Of measurements with several options of the space the largest group is taken; `left_out` counts the others.
    Raises UsageError where several spaces were measured and none is named, or the space is a family of the user's own;
    Inconclusive when nothing was measured well.
    """
    found = store.sourced(device, kind="block" if blocks else "architecture")
    space = _chosen_space(found, space, device)
    _need_published(space)
    of_space = [(item, row) for item, row in found if _space_of(item.workload) == space]
    good = [(item, row) for item, row in of_space if item.status == "ok" and item.latency_s is not None]
    chosen = _largest_group(good)
    if not chosen:
        raise Inconclusive(f"nothing of {space} was measured well on {device}", "", "See: hilnas runs list")
    first, campaign = chosen[0][0].workload, chosen[-1][1]
    if campaign.config.get("kind") == "replay":
        raise UsageError(f"{device} replays a table", "Its numbers are not measurements of yours.")
    failed = Counter(item.status for item, _ in of_space if item.status != "ok")
    return {
        "format": FORMAT,
        "schema_version": SCHEMA,
        "written_by": __version__,
        "measured_with": sorted({row.version for _, row in chosen}),
        "kind": "blocks" if blocks else "architectures",
        "space": space,
        "space_options": json.loads(first.options),
        "dtype": first.dtype,
        "device": _device(campaign.config, store.environment_facts(campaign.environment)),
        "protocols": _distinct([row.protocol.to_json() for _, row in chosen]),
        "measurements": sorted((_measurement(item) for item, _ in chosen), key=lambda row: str(row["key"])),
        "left_out": {**dict(sorted(failed.items())), "other_options": len(good) - len(chosen)},
    }


def _space_of(workload: Workload) -> str:
    return workload.subject.removeprefix("block:").partition(":")[0]


def _chosen_space(found: Sequence[_Sourced], space: str | None, device: str) -> str:
    spaces = sorted({_space_of(item.workload) for item, _ in found})
    if not spaces:
        raise Inconclusive(f"{device} has no measurements of this kind", "", f"Measure some: hilnas profile {device}")
    if space is not None and space not in spaces:
        raise UsageError(f"nothing of {space!r} was measured on {device}", f"Measured: {', '.join(spaces)}.")
    if space is None and len(spaces) > 1:
        raise UsageError(
            f"{device} has measurements of several spaces: {', '.join(spaces)}", "", f"Name one: --space {spaces[0]}"
        )
    return space or spaces[0]


def _need_published(space: str) -> None:
    known = space in plugins.names("search_spaces")
    if not known or plugins.load("search_spaces", space, SearchSpace).traced:
        raise UsageError(
            f"{space} is a family of your own",
            "Others do not have its networks, and its options may name what is yours.",
            "Export it with its names: hilnas data export DEVICE --format jsonl",
        )


def _largest_group(found: Sequence[_Sourced]) -> list[_Sourced]:
    """Return the measurements with the most frequent options and type of the space; the newest of equal ones."""
    groups: dict[tuple[str, str], list[_Sourced]] = {}
    for item, row in found:
        groups.setdefault((item.workload.options, item.workload.dtype), []).append((item, row))
    return max(reversed(groups.values()), key=len, default=[])


def _measurement(item: Measurement) -> dict[str, Any]:
    """Return one measurement; of a block the seconds of one of its copies."""
    workload = item.workload
    copies = block_copies(workload) if workload.kind == "block" else 1
    times = {"latency_s": item.latency_s, "lower_s": item.lower_s, "upper_s": item.upper_s}
    return {
        "key": block_key(workload) if workload.kind == "block" else workload.subject,
        "input_shape": list(workload.input_shape),
        **{name: None if value is None else value / copies for name, value in times.items()},
        "confidence": item.confidence,
        "invocations": item.invocations,
        "metrics": {} if workload.kind == "block" else _metrics(item),
    }


def _metrics(item: Measurement) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "value": found.value,
            "uncertainty": found.uncertainty,
            "invocations": found.invocations,
            "scope": _plain(found.scope),
        }
        for name, found in sorted(item.metrics.items())
        if found.value is not None and metric_of(name) is not None
    }


def _device(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    state = facts.get("state")
    sensors = {name: _listed(values, _STATE[name]) for name, values in _mapping(state).items() if name in _STATE}
    runtime = {name: _shortened(value) for name, value in _mapping(facts.get("runtime")).items()}
    return {
        "kind": _plain(config.get("kind")),
        "backend": _plain(config.get("backend")),
        "power": _listed(config.get("power"), _POWER),
        "host": _listed(facts.get("host"), _HOST),
        "runtime": _listed(runtime, _RUNTIME),
        "options": _listed(facts.get("options") or config.get("options"), _OPTIONS),
        "state": {name: values for name, values in sensors.items() if values},
    }


def _listed(values: object, names: Sequence[str]) -> dict[str, Any]:
    """Return the named values without those that are missing or look private."""
    known = _mapping(values)
    found = {name: _plain(known.get(name)) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _mapping(values: object) -> Mapping[str, Any]:
    return values if isinstance(values, Mapping) else {}


def _shortened(value: object) -> object:
    match = _FOUR_NUMBERS.fullmatch(value) if isinstance(value, str) else None
    return value if match is None else match[1]


def _plain(value: object) -> Any:
    """Return numbers, truth values, texts that do not look private, and lists of these; None for anything else."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return None if len(value) > _MAX_TEXT or not value.isprintable() or _PRIVATE.search(value) else value
    if isinstance(value, list | tuple):
        found = [_plain(item) for item in value]
        return None if any(item is None for item in found) else found
    return None


def _distinct(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
