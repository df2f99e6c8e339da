"""A time limit as an object, handed down so that nested waits share one budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Deadline:
    """A point on a monotonic clock."""

    at_s: float
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """Return the deadline that lies `seconds` from now."""
        return cls(clock() + seconds, clock)

    @classmethod
    def never(cls) -> Deadline:
        """Return a deadline that never comes."""
        return cls(math.inf)

    def remaining(self) -> float:
        """Return the seconds left, never below 0."""
        return max(0.0, self.at_s - self.clock())

    @property
    def expired(self) -> bool:
        """Return whether nothing is left."""
        return self.remaining() == 0.0

    def sooner(self, seconds: float) -> Deadline:
        """Return the earlier of this deadline and one `seconds` from now."""
        return Deadline(min(self.at_s, self.clock() + seconds), self.clock)
