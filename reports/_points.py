"""Charts of points as SVG that stands in a page: no script, nothing loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from hilnas.units import format_count
from reports._lines import COLOURS, HEIGHT, MARGIN, WIDTH

Point = tuple[float, float]


def point_chart(
    title: str, axes: tuple[str, str], points: Mapping[str, Sequence[Point]], level: float | None = None
) -> str:
    """Return a chart of named points over two axes, with a dashed line at a level, if any. Needs one point at least."""
    every = [point for own in points.values() for point in own]
    x_range = _range([x for x, _ in every])
    y_range = _range([*(y for _, y in every), *([] if level is None else [level])])
    drawn = [
        f'<circle cx="{_x(x, x_range):.1f}" cy="{_y(y, y_range):.1f}" r="4" fill="{COLOURS[i % len(COLOURS)]}">'
        f"<title>{escape(name)}: {x:.4g}, {y:.4g}</title></circle>"
        for i, (name, own) in enumerate(points.items())
        for x, y in own
    ]
    legend = "".join(
        f'<tspan dx="12" fill="{COLOURS[i % len(COLOURS)]}">{escape(name)}</tspan>' for i, name in enumerate(points)
    )
    bottom, line = HEIGHT - MARGIN, ""
    if level is not None:
        place = f"M{MARGIN} {_y(level, y_range):.1f}H{WIDTH - 8}"
        line = f'<path d="{place}" fill="none" stroke="currentColor" stroke-dasharray="4"/>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" font-size="12" fill="currentColor">'
        f"<title>{escape(title)}</title>"
        f'<path d="M{MARGIN} {MARGIN / 2}V{bottom}H{WIDTH - 8}" fill="none" stroke="currentColor"/>'
        f"{line}"
        f'<text x="{MARGIN - 4}" y="{MARGIN / 2 + 4}" text-anchor="end">{_short(y_range[1])}</text>'
        f'<text x="{MARGIN - 4}" y="{bottom}" text-anchor="end">{_short(y_range[0])}</text>'
        f'<text x="{MARGIN}" y="{bottom + 14}">{_short(x_range[0])}</text>'
        f'<text x="{WIDTH - 8}" y="{bottom + 14}" text-anchor="end">{escape(axes[0])}, to {_short(x_range[1])}</text>'
        f"{''.join(drawn)}"
        f'<text x="{MARGIN}" y="{HEIGHT - 8}">{escape(title)} ({escape(axes[1])}):{legend}</text></svg>'
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low, low + 1.0)


def _x(value: float, between: tuple[float, float]) -> float:
    return MARGIN + 8 + (WIDTH - MARGIN - 24) * (value - between[0]) / (between[1] - between[0])


def _y(value: float, between: tuple[float, float]) -> float:
    return HEIGHT - MARGIN - 8 - (HEIGHT - 1.5 * MARGIN - 16) * (value - between[0]) / (between[1] - between[0])


def _short(value: float) -> str:
    """Return a number in the room there is beside an axis: three digits and a prefix."""
    number, _, prefix = format_count(float(f"{value:.3g}")).partition(" ")
    return number + prefix
