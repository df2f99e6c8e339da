"""Line charts as SVG that stands in a page: no script, nothing loaded."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, MARGIN = 720, 240, 44
COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#57606a")
#: Points of a line: more than pixels show nothing.
_MOST_POINTS = 600


def line_chart(title: str, lines: Mapping[str, NDArray[np.float64]], unit: str = "evaluations") -> str:
    """Return a chart of lines over 1, 2, 3 ... of a unit; NaN is a gap at the beginning. Needs one finite value."""
    finite = np.concatenate([values[np.isfinite(values)] for values in lines.values()])
    low, high = float(finite.min()), float(finite.max())
    high = high if high > low else low + 1.0
    longest = max(len(values) for values in lines.values())
    drawn = [_line(values, low, high, longest, COLOURS[i % len(COLOURS)]) for i, values in enumerate(lines.values())]
    legend = "".join(
        f'<tspan dx="12" fill="{COLOURS[i % len(COLOURS)]}">{escape(name)}</tspan>' for i, name in enumerate(lines)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" font-size="12" fill="currentColor">'
        f"<title>{escape(title)}</title>"
        f'<path d="M{MARGIN} {MARGIN / 2}V{HEIGHT - MARGIN}H{WIDTH - 8}" fill="none" stroke="currentColor"/>'
        f'<text x="{MARGIN - 4}" y="{MARGIN / 2 + 4}" text-anchor="end">{high:.4g}</text>'
        f'<text x="{MARGIN - 4}" y="{HEIGHT - MARGIN}" text-anchor="end">{low:.4g}</text>'
        f'<text x="{WIDTH - 8}" y="{HEIGHT - MARGIN + 14}" text-anchor="end">{longest} {escape(unit)}</text>'
        f"{''.join(drawn)}"
        f'<text x="{MARGIN}" y="{HEIGHT - 8}">{escape(title)}:{legend}</text></svg>'
    )


def _line(values: NDArray[np.float64], low: float, high: float, longest: int, colour: str) -> str:
    places = np.flatnonzero(np.isfinite(values))
    places = places[:: max(1, len(places) // _MOST_POINTS)]
    x = MARGIN + (WIDTH - 8 - MARGIN) * (places + 1) / longest
    y = HEIGHT - MARGIN - (HEIGHT - 1.5 * MARGIN) * (values[places] - low) / (high - low)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
