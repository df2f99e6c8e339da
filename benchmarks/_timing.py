"""Two ways to do one thing, timed in turn in one run; their ratio with its spread."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Comparison:
    """Seconds of ours and of a peer on the same items, pair by pair; a target of None is none."""

    peer: str
    target: float | None
    ours_s: tuple[float, ...]
    peer_s: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return medians, and the ratio of each pair as median, quartiles and range."""
        ratios = np.array(self.peer_s) / np.array(self.ours_s)
        low, median, high = (float(value) for value in np.percentile(ratios, (25, 50, 75)))
        return {
            "peer": self.peer,
            "n": len(ratios),
            "ours_s": float(np.median(self.ours_s)),
            "peer_s": float(np.median(self.peer_s)),
            "ratio": {
                "median": median,
                "quartiles": [low, high],
                "range": [float(ratios.min()), float(ratios.max())],
            },
            "target": self.target,
            "met": None if self.target is None else median >= self.target,
        }

    def line(self) -> str:
        """Return the comparison as one line for people."""
        found = self.to_json()
        ratio = found["ratio"]
        (low, high), (least, most) = ratio["quartiles"], ratio["range"]
        return (
            f"{_figure(ratio['median']):>8} x against {self.peer}: {found['ours_s'] * 1e3:.3g} ms and "
            f"{found['peer_s'] * 1e3:.3g} ms (medians of {found['n']}); quartiles {_figure(low)} to {_figure(high)}, "
            f"range {_figure(least)} to {_figure(most)}"
            + ("" if self.target is None else f"; target {self.target:.0f}: {'met' if found['met'] else 'MISSED'}")
        )


def _figure(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def interleave(
    items: Iterable[tuple[Sequence[A], Sequence[B]]],
    ours: Callable[[A], object],
    peer: Callable[[B], object],
    seed: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the seconds a call of both for each pair of sequences; which one goes first is drawn.

    Both sides get the same items, as many a timing: a call of microseconds is not timed alone. Garbage is collected
    before each timing and not within it, so that neither pays for the other's. `clock` gives seconds; with that of
    the process other work on the machine does not count.
    """
    rng = np.random.default_rng(seed)
    ours_s, peer_s = [], []
    for for_ours, for_peer in items:
        if rng.random() < 0.5:
            ours_s.append(_seconds(ours, for_ours, clock))
            peer_s.append(_seconds(peer, for_peer, clock))
        else:
            peer_s.append(_seconds(peer, for_peer, clock))
            ours_s.append(_seconds(ours, for_ours, clock))
    return tuple(ours_s), tuple(peer_s)


def _seconds(function: Callable[[A], object], arguments: Sequence[A], clock: Callable[[], float]) -> float:
    gc.collect()
    gc.disable()
    try:
        start = clock()
        for argument in arguments:
            function(argument)
        return (clock() - start) / len(arguments)
    finally:
        gc.enable()
