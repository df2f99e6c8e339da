"""What other methods are measured by: the reward that RADARS ends with, and the time it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Events = Sequence[Mapping[str, Any]]


def trained(events: Events) -> Events:
    """Return the networks that were trained fully."""
    return [item for item in events if item.get("kind") in ("retrained", "derived")]


@dataclass(frozen=True)
class Goal:
    """RADARS' final reward, when it had it, when it ended, and how often the first time others get."""

    reward: float
    reached_s: float
    end_s: float
    stop: float

    def slower(self, events: Events) -> float | None:
        """Return how much later a method has the reward, None: not in time."""
        reached = next((item["elapsed_s"] for item in trained(events) if item["reward"] >= self.reward), None)
        return None if reached is None or reached > self.stop * self.reached_s else reached / self.reached_s

    def enough(self, events: Events) -> bool:
        """Return whether a method can be stopped: RADARS has ended, and the reward is reached or time is up."""
        elapsed_s = events[-1]["elapsed_s"]
        done = self.slower(events) is not None or elapsed_s > self.stop * self.reached_s
        return bool(done and elapsed_s > self.end_s)
