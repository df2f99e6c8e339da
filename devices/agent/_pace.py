"""Which blocks of calls ran while the processor was at its full pace.

A guest on the other thread of our core, or a lower clock that no file shows, slows everything down, and nothing that a
guest can read tells. So a loop of a fixed amount of work is timed between the blocks: only those that begin and end
with a loop about as short as the shortest ever seen count. Nothing is chosen by the latencies themselves.
"""

import time
from typing import List

from . import _stopping

#: A loop that took this many times the shortest one ran at another pace. The shortest one ever had the highest clock,
#: 20 to 35 % above the usual one; a neighbour on the same core makes loops 1.8 to 2.2 times as long as the shortest.
_TOLERANCE = 1.5
_TURNS = 5000
_LOOPS = 3

#: Python 3.6 has no clock in whole nanoseconds.
now_ns = getattr(time, "perf_counter_ns", None) or (lambda: int(time.perf_counter() * 1e9))


def loop_ns() -> int:
    """Return what the loop takes now, the shortest of three: an interrupt lengthens one of them only."""
    return max(1, min(_once_ns() for _ in range(_LOOPS)))


def best_ns(seconds: float) -> int:
    """Return the shortest loop within so many seconds.

    Nothing sleeps in between: for half a millisecond after a wake-up a virtual processor runs at half its pace.
    """
    until = time.monotonic() + seconds
    best = loop_ns()
    while time.monotonic() < until:
        best = min(best, loop_ns())
    return best


def _once_ns() -> int:
    before = now_ns()
    total = 0
    for turn in range(_TURNS):
        total += turn
    return int(now_ns() - before)


class Every:
    """Keeps all blocks: nobody asked for the pace."""

    best_ns = 0
    lost_s = 0.0
    dropped = 0

    def __init__(self) -> None:
        self.blocks: List[List[int]] = []
        self.medians: List[float] = []

    def add(self, block: List[int]) -> None:
        """Keep a block."""
        self.blocks.append(block)
        self.medians.append(_stopping.median(block))


class FullPace(Every):
    """Keeps the blocks at full pace; `lost_s` went into others and into the loops.

    `best_ns` is the shortest loop known; a shorter one puts what was kept before in question again.
    """

    def __init__(self, best_ns: int) -> None:
        super().__init__()
        self._paces: List[int] = []
        self._seconds: List[float] = []
        self._began = time.perf_counter()
        self._last = loop_ns()
        self._ended = time.perf_counter()
        self.best_ns = min(best_ns or self._last, self._last)

    def add(self, block: List[int]) -> None:
        """Keep a block that ran since the last call, if the processor was at its full pace before and after it."""
        super().add(block)
        self._seconds.append(time.perf_counter() - self._ended)
        before, self._last = self._last, loop_ns()
        self._paces.append(max(before, self._last))
        self.best_ns = min(self.best_ns, self._last)
        self._drop_slow()
        self._ended = time.perf_counter()
        self.lost_s = self._ended - self._began - sum(self._seconds)

    def _drop_slow(self) -> None:
        kept = [i for i, pace in enumerate(self._paces) if pace <= _TOLERANCE * self.best_ns]
        if len(kept) == len(self._paces):
            return
        self.dropped += len(self._paces) - len(kept)
        self.blocks = [self.blocks[i] for i in kept]
        self.medians = [self.medians[i] for i in kept]
        self._paces = [self._paces[i] for i in kept]
        self._seconds = [self._seconds[i] for i in kept]
