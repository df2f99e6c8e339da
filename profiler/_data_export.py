"""Tables and measurements as text for other programs: CSV, JSON Lines, block tables as Once-for-All reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance
from typing import Any, Literal

from hilnas.errors import Inconclusive, UnknownName, UsageError
from profiler._export import as_csv, as_jsonl, measurement_rows
from profiler._plan import block_copies, block_entry_s, block_key
from profiler._store import Store
from profiler._table_records import TableColumn
from profiler.importers._flat_yaml import flat_yaml
from profiler.importers._units import ENDINGS
from profiler.importers.ofa_yaml import UNIT_LINE

Form = Literal["csv", "jsonl", "ofa_yaml"]

_KINDS = ("architecture", "block", "model")
_SI_ENDINGS = {"time": "s", "energy": "j", "bytes": "bytes"}
_MS = 1e3


@dataclass(frozen=True)
class Exported:
    """What a name stands for: a table, or a device with measurements."""

    kind: Literal["table", "device"]
    name: str


def resolved(store: Store, text: str) -> Exported:
    """Return what NAME, table:NAME or device:NAME stands for; raise UnknownName, or UsageError for a name of both."""
    for kind in ("table", "device"):
        if text.startswith(f"{kind}:") and "/" not in text:
            return _known(store, Exported(kind, text.removeprefix(f"{kind}:")))
    devices = {row.device for row in store.campaigns()}
    tables = set(store.table_names())
    if text in tables and text in devices:
        raise UsageError(
            f"{text!r} is a table and a device", "", f"Write table:{text} for the one, device:{text} for the other"
        )
    if text not in tables | devices:
        remedy = "Import a table with: hilnas data import FILE --as NAME"
        raise UnknownName("table or device", text, tables | devices, remedy)
    return Exported("table" if text in tables else "device", text)


def exported_text(store: Store, what: Exported, form: Form, column: str | None = None) -> str:
    """Return a table, or the measurements of a device over all its campaigns, in one of the forms, in SI units.

    `column` chooses the one that becomes a block table (ofa_yaml, which is in ms as its readers expect).
    """
    if form == "ofa_yaml":
        return _as_ofa(_ofa_of_table(store, what.name, column) if what.kind == "table" else _ofa_of_device(store, what))
    rows = table_rows(store, what.name) if what.kind == "table" else device_rows(store, what.name)
    if form == "jsonl":
        return as_jsonl([{name: None if value == "" else value for name, value in row.items()} for row in rows])
    return as_csv([{name: _cell(value) for name, value in row.items()} for row in rows])


def table_rows(store: Store, name: str) -> list[dict[str, Any]]:
    """Return the rows of a table with the SI unit of every column in its name: pi_ms holds seconds as pi_s."""
    _, rows = store.table_rows(name)
    renamed = _si_names([*store.table_columns(name), *store.block_columns(name)])
    return [{renamed.get(key, key): value for key, value in row.items()} for row in rows]


def device_rows(store: Store, device: str) -> list[dict[str, Any]]:
    """Return one row a workload that was measured on a device; raise Inconclusive when none was."""
    found = [item for kind in _KINDS for item in store.measurements(device, kind=kind)]
    if not found:
        raise Inconclusive(f"nothing was measured on {device} yet", "", f"Measure: hilnas profile {device}")
    return measurement_rows(found)


def _known(store: Store, what: Exported) -> Exported:
    known = store.table_names() if what.kind == "table" else sorted({row.device for row in store.campaigns()})
    if what.name not in known:
        raise UnknownName(what.kind, what.name, known)
    return what


def _si_names(columns: Sequence[TableColumn]) -> dict[str, str]:
    """Return stored name -> name that ends in the unit of the exported value; two never become one."""
    renamed: dict[str, str] = {}
    for column in columns:
        unit = _SI_ENDINGS.get(column.dimension)
        if unit is None:
            continue
        stem, _, last = column.name.rpartition("_")
        stem = stem if stem and last.lower() in ENDINGS else column.name
        if f"{stem}_{unit}" in renamed.values():
            stem = column.name
        renamed[column.name] = f"{stem}_{unit}"
        renamed[f"{column.name}_{column.spread_kind}"] = f"{stem}_{column.spread_kind}_{unit}"
    return renamed


def _cell(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, Mapping) else value


def _ofa_of_table(store: Store, name: str, column: str | None) -> dict[str, dict[str, Any]]:
    found = store.block_column(name, column)
    if found.dimension != "time":
        raise UsageError(f"{found.address} holds {found.dimension}, not times", "", "Choose another: --column NAME")
    spreads = found.spreads if found.spread_kind == "sd" else {}
    return {
        key: _ofa_entry(value, spreads[key] ** 2 if key in spreads else None, found.counts.get(key))
        for key, value in found.values.items()
    }


def _ofa_of_device(store: Store, what: Exported) -> dict[str, dict[str, Any]]:
    """Return the blocks that were measured well: median, and variance of the medians of their invocations."""
    found = {}
    for item, campaign in store.sourced(what.name, kind="block"):
        if item.status != "ok":
            continue
        invocations = store.invocations(campaign.run_id).get(item.workload.key, [])
        medians = [one.median_s for one in invocations if one.status == "ok" and one.median_s is not None]
        copies = block_copies(item.workload)
        variance = pvariance([value / copies for value in medians], fmean(medians) / copies) if medians else None
        found[block_key(item.workload)] = _ofa_entry(block_entry_s(item), variance, len(medians) or None)
    if not found:
        raise Inconclusive(
            f"no blocks were measured well on {what.name}",
            "",
            f"Measure those of a space: hilnas profile {what.name} --space nasbench201 --blocks",
        )
    return found


def _ofa_entry(mean_s: float, variance_s2: float | None, count: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if count is None else {"count": count}
    found["mean"] = mean_s * _MS
    return found if variance_s2 is None else {**found, "var": variance_s2 * _MS**2}


def _as_ofa(entries: Mapping[str, Mapping[str, Any]]) -> str:
    return f"{UNIT_LINE}ms\n{flat_yaml(entries)}"
