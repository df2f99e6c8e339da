"""Line charts as SVG that stands in a page: no script, nothing loaded."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT, _MARGIN = 720, 240, 44
_COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#57606a")
#: Points of a line: more than pixels show nothing.
_MOST_POINTS = 600


def line_chart(title: str, lines: Mapping[str, NDArray[np.float64]]) -> str:
    """Return a chart of lines over 1, 2, 3 ...; NaN is a gap at the beginning. Needs one finite value at least."""
    finite = np.concatenate([values[np.isfinite(values)] for values in lines.values()])
    low, high = float(finite.min()), float(finite.max())
    high = high if high > low else low + 1.0
    longest = max(len(values) for values in lines.values())
    drawn = [_line(values, low, high, longest, _COLOURS[i % len(_COLOURS)]) for i, values in enumerate(lines.values())]
    legend = "".join(
        f'<tspan dx="12" fill="{_COLOURS[i % len(_COLOURS)]}">{escape(name)}</tspan>' for i, name in enumerate(lines)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" font-size="12" fill="currentColor">'
        f"<title>{escape(title)}</title>"
        f'<path d="M{_MARGIN} {_MARGIN / 2}V{_HEIGHT - _MARGIN}H{_WIDTH - 8}" fill="none" stroke="currentColor"/>'
        f'<text x="{_MARGIN - 4}" y="{_MARGIN / 2 + 4}" text-anchor="end">{high:.4g}</text>'
        f'<text x="{_MARGIN - 4}" y="{_HEIGHT - _MARGIN}" text-anchor="end">{low:.4g}</text>'
        f'<text x="{_WIDTH - 8}" y="{_HEIGHT - _MARGIN + 14}" text-anchor="end">{longest} evaluations</text>'
        f"{''.join(drawn)}"
        f'<text x="{_MARGIN}" y="{_HEIGHT - 8}">{escape(title)}:{legend}</text></svg>'
    )


def _line(values: NDArray[np.float64], low: float, high: float, longest: int, colour: str) -> str:
    places = np.flatnonzero(np.isfinite(values))
    places = places[:: max(1, len(places) // _MOST_POINTS)]
    x = _MARGIN + (_WIDTH - 8 - _MARGIN) * (places + 1) / longest
    y = _HEIGHT - _MARGIN - (_HEIGHT - 1.5 * _MARGIN) * (values[places] - low) / (high - low)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
