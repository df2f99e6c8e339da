"""How a search of layers in a row went: what it left of its space, the networks it trained, the memory it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import accumulate
from typing import Any

from hilnas.records import canonical_json
from hilnas.units import parse_quantity
from profiler._metrics import stored_names
from profiler._plan import load_space
from reports._lines import COLOURS, MARGIN, WIDTH
from reports._points import Point, point_chart
from search_spaces._chain import ChainSpace
from search_spaces._sub_space import SubSpace

_ROW = 20
_MIB = 2**20
_TRAINED = ("retrained", "derived")


def pruned_charts(answer: Mapping[str, Any]) -> list[str]:
    """Return the charts of a study that merged networks or trained them one by one; none for others."""
    searches = [item for item in answer.get("searches", []) if any("kind" in row for row in item["history"])]
    if not searches:
        return []
    space = load_space(answer["space"], canonical_json(answer["space_options"]))
    grids = [_grid(space, item) for item in searches if isinstance(space, ChainSpace)]
    return [grid for grid in grids if grid] + _networks(answer, searches) + _memory(answer, searches)


def _grid(space: ChainSpace, search: Mapping[str, Any]) -> str:
    """Return what the last merge left of each layer, in front of all candidates there; empty without a merge."""
    merged = next(_rows([search], "merged", newest=True), None)
    if merged is None:
        return ""
    sub, whole = SubSpace.from_json({"layers": merged["layers"]}), space.whole()
    last = next(_rows([search], "derived", newest=True), None)
    derived = () if last is None else space.split(space.parse(last["architecture"]))
    left, width = MARGIN + 24, WIDTH - MARGIN - 120
    cells = []
    for number, (kept, every) in enumerate(zip(sub.layers, whole.layers, strict=True)):
        step, y = width / len(every), number * _ROW + 8
        cells.append(
            f'<text x="{left - 6}" y="{y + 12}" text-anchor="end">layer {number + 1}</text>'
            f'<rect x="{left}" y="{y}" width="{width}" height="{_ROW - 4}" fill="currentColor" opacity="0.1"/>'
            f'<text x="{left + width + 8}" y="{y + 12}">{len(kept)} of {len(every)}</text>'
        )
        for candidate in kept:
            x, chosen = left + every.index(candidate) * step, number < len(derived) and derived[number] == candidate
            cells.append(
                f'<rect class="kept" x="{x:.1f}" y="{y}" width="{max(2.0, step):.1f}" height="{_ROW - 4}" '
                f'fill="{COLOURS[1 if chosen else 0]}">'
                f"<title>{'derived' if chosen else 'kept'}: {', '.join(map(str, candidate))}</title></rect>"
            )
    height = len(whole.layers) * _ROW + 36
    title = f"candidates left of each layer, seed {search['seed']}, {merged['event']}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img" font-size="12" fill="currentColor">'
        f"<title>{escape(title)}</title>{''.join(cells)}"
        f'<text x="{left}" y="{height - 8}">{escape(title)}:<tspan dx="12" fill="{COLOURS[0]}">kept</tspan>'
        f'<tspan dx="12" fill="{COLOURS[1]}">kept and derived</tspan></text></svg>'
    )


def _networks(answer: Mapping[str, Any], searches: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the errors of all networks against their costs."""
    limits = answer.get("constraints", [])
    metric = limits[0]["metric"] if limits else str(answer.get("options", {}).get("cost", "aops"))
    full = list(dict.fromkeys(_point(row) for row in _rows(searches, *_TRAINED)))
    short = list(dict.fromkeys(_point(row) for row in _rows(searches, "episode")))
    best = front(full)
    points = {
        "short trainings": short,
        "trained fully": [item for item in full if item not in best],
        "Pareto front": best,
    }
    drawn = {name: own for name, own in points.items() if own}
    return [point_chart("error against cost", (stored_names()[metric], "error, %"), drawn)] if drawn else []


def _point(row: Mapping[str, Any]) -> Point:
    return row["cost"], 100 - row["accuracy"]


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats in both coordinates, where less is better."""
    ordered = sorted(points)
    lowest = accumulate((y for _, y in ordered), min, initial=float("inf"))
    return [point for point, before in zip(ordered, lowest, strict=False) if point[1] < before]


def _memory(answer: Mapping[str, Any], searches: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what supernets were predicted to take and took, over the seconds of the search, against the bound."""
    names = {"predicted_bytes": "predicted", "peak_bytes": "measured"}
    points = {
        name: [(row["elapsed_s"], row[field] / _MIB) for row in _rows(searches, "searched") if row[field]]
        for field, name in names.items()
    }
    drawn = {name: own for name, own in points.items() if own}
    memory = answer.get("request", {}).get("memory")
    bound = None if memory is None else parse_quantity(memory, "bytes") / _MIB
    return [point_chart("memory of supernets", ("seconds", "MiB"), drawn, bound)] if drawn else []


def _rows(searches: Sequence[Mapping[str, Any]], *kinds: str, newest: bool = False) -> Iterator[Mapping[str, Any]]:
    """Return the events of some kinds that did not fail, oldest first unless the newest are asked for."""
    for search in searches:
        history = search["history"]
        for row in reversed(history) if newest else history:
            if row.get("kind") in kinds and (row["kind"] == "searched" or row.get("cause") is None):
                yield row
