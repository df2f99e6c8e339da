"""What a search on pictures prints beside the figures of all searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hilnas.errors import Inconclusive
from hilnas.output import show_table
from profiler._metrics import stored_names
from searchers._reach import shown

_MIB = 2**20


def show_searches(values: Mapping[str, Any]) -> None:
    """Print each search of a seed under a bound, and what the winners are worth, where they were trained."""
    rows = [row for item in values["searches"] for row in _rows(item)]
    columns = ("seed", "bounds", "expected", "really costs", "derived", "skips", "entropy", "search s", "peak MiB")
    show_table(columns, rows, "searches: bounds on what is expected, and what is derived under them")
    trained = values.get("retrained")
    if trained is None:
        return
    title = (
        f"winners trained from scratch: {trained['epochs']} epochs on {trained['trained_on']} pictures, "
        f"tested on {trained['tested_on']} others"
    )
    found = [
        (name, figure["mean"], figure["sd"], *_difference(trained, name))
        for name, figure in trained["accuracy"].items()
    ]
    show_table(("", "accuracy %", "sd", "difference [95 %]"), found, title)


def remarks(values: Mapping[str, Any]) -> list[str]:
    """Return what searches remark, why they ended early, and how good the expectation of a cost is that is none."""
    searches = values["searches"]
    said = dict.fromkeys(event["remark"] for item in searches for event in item["history"] if "remark" in event)
    ended = [
        f"seed {item['seed']}, bounds x {item['factor']:g}: {item['cause']}"
        for item in searches
        if item["cause"] is not None
    ]
    sums = {name: share for name, share in values["explained"].items() if share < 1}
    poor = [f"{name}: the sum that is expected has {share:.0%} of its variance" for name, share in sums.items()]
    return [*said, *ended, *poor]


def nothing_proposed(values: Mapping[str, Any]) -> Inconclusive | None:
    """Return why no search has proposed a network, None where one has."""
    searches = values.get("searches", [])
    if not searches or any(item["derived"] for item in searches):
        return None
    causes = [item["cause"] for item in searches if item["cause"] is not None]
    return Inconclusive("no search has proposed a network", "; ".join(causes[:1]), "Lower the rate: --set rate=0.01")


def _rows(item: Mapping[str, Any]) -> list[tuple[object, ...]]:
    last = item["history"][-1] if item["history"] else {}
    first = (item["seed"], _costs(item["bounds"]) or f"x {item['factor']:g}", _costs(item["expected"]))
    if not item["derived"]:
        return [(*first, None, "nothing", None, None, item["elapsed_s"], item["peak_bytes"] / _MIB)]
    found: list[tuple[object, ...]] = []
    for i, one in enumerate(item["derived"]):
        spent = (last.get("skips"), last.get("entropy"), item["elapsed_s"], item["peak_bytes"] / _MIB)
        text = one["architecture"].partition(":")[2]
        found.append((*(first if i == 0 else ("", "", "")), _costs(one), text, *(spent if i == 0 else ("",) * 4)))
    return found


def _costs(values: Mapping[str, Any]) -> str | None:
    """Return the costs of a mapping with stored names for the screen, None where there are none."""
    found = [shown(name, values[stored]) for name, stored in stored_names().items() if values.get(stored) is not None]
    return ", ".join(found) or None


def _difference(trained: Mapping[str, Any], name: str) -> list[str | None]:
    found = trained["difference"].get(name)
    if found is None:
        return [None if name in trained["difference"] else ""]
    if found["lower"] is None:
        return [f"{found['mean']:+.3g}"]
    return [f"{found['mean']:+.3g} [{found['lower']:+.3g}, {found['upper']:+.3g}]"]
