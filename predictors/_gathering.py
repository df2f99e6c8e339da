"""Choose, measure, look again: how `hilnas fit` comes to what a predictor learns from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from devices._config import DeviceConfig
from hilnas.errors import Inconclusive
from hilnas.records import Architecture
from predictors._base import Predictor
from predictors._samples import Samples, measure_samples, recorded_samples, time_column
from predictors.transfer import Transfer, n_drawn
from profiler._campaign import Progress, silent
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace

#: Random architectures a predictor chooses from, and those over which its intervals are averaged.
_POOL, _REFERENCE = 3000, 200
#: Measured between two looks at the intervals, at least: this many, and this share of what is there.
_STEP, _STEP_SHARE = 4, 5
_COVERAGE = 0.9


class Target(ABC):
    """A device whose times are wanted, and what of them may be learned from so far."""

    @property
    @abstractmethod
    def samples(self) -> Samples:
        """Return the connected architectures whose times are known."""

    @abstractmethod
    def candidates(self, n: int) -> list[Architecture]:
        """Return about n random architectures that can be measured, all there are where they are fewer."""

    @abstractmethod
    def measure(self, architectures: Sequence[Architecture], progress: Progress) -> None:
        """Measure architectures; those that cannot be measured well are missing from `samples` afterwards."""


class DeviceTarget(Target):
    """A device with records; what is chosen at one time is one campaign, with sentinels of its own.

    Campaigns of another environment than the newest are not part of `samples`.
    """

    def __init__(self, workspace: Workspace, config: DeviceConfig, space: SearchSpace, seed: int) -> None:
        self._workspace = workspace
        self._config = config
        self._space = space
        self._seed = seed
        self._samples = recorded_samples(workspace, config.name, space)

    @property
    def samples(self) -> Samples:
        """Return what is recorded."""
        return self._samples

    def candidates(self, n: int) -> list[Architecture]:
        """Return random architectures of the space; of a small one, nearly all."""
        rng = np.random.default_rng(self._seed)
        found: dict[str, Architecture] = {}
        for _ in range(4 * n):
            item = self._space.sample(rng)
            found[item.text] = item
            if len(found) == n:
                break
        return list(found.values())

    def measure(self, architectures: Sequence[Architecture], progress: Progress) -> None:
        """Measure in a campaign of their own; raise Inconclusive where nothing at all is known afterwards."""
        try:
            measure_samples(self._workspace, self._config, self._space, architectures, self._seed, progress)
        except Inconclusive:
            if not len(self._samples):
                raise
        self._samples = recorded_samples(self._workspace, self._config.name, self._space)


class TableTarget(Target):
    """A column of times; of its values only those that were asked for are looked at."""

    def __init__(self, workspace: Workspace, address: str, space: SearchSpace, seed: int) -> None:
        self._values = time_column(workspace, address, space)
        self._space = space
        self._seed = seed
        self._read: list[Architecture] = []

    @property
    def samples(self) -> Samples:
        """Return what was read, in that order."""
        times = np.array([self._values[item.text] for item in self._read], dtype=float)
        return Samples(tuple(self._read), times, ((),) * len(self._read))

    def candidates(self, n: int) -> list[Architecture]:
        """Return random connected architectures of the table, no two of one canonical form."""
        texts = sorted(self._values)
        found: dict[str, Architecture] = {}
        for place in np.random.default_rng(self._seed).permutation(len(texts)):
            item = self._space.parse(texts[place])
            form = self._space.canonical(item)
            if form not in found and self._space.graph(item).connected:
                found[form] = item
            if len(found) == n:
                break
        return list(found.values())

    def measure(self, architectures: Sequence[Architecture], progress: Progress) -> None:
        """Read the values of these architectures."""
        self._read += architectures


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many samples there shall be in all, and how narrow the mean relative 90 % interval may end it earlier."""

    n: int
    interval: float | None = None


@dataclass(frozen=True, eq=False)
class Gathered:
    """What there is to learn from; `drawn` says of each sample whether it was drawn at random now.

    `interval_width` is the mean of (upper - lower) / mean of 90 % intervals over random architectures when it was
    last looked at (None: never), `stopped` why no more were measured.
    """

    samples: Samples
    n_measured: int
    drawn: tuple[bool, ...] = field(repr=False)
    interval_width: float | None
    stopped: str


def gather(
    target: Target, predictor: Predictor, wanted: Wanted, seed: int = 0, progress: Progress = silent
) -> Gathered:
    """Return samples of a target: what is known, and what the predictor chooses to have measured.

    What cannot be measured well is replaced by others, as long as no more are tried than are wanted. Raises
    Inconclusive where nothing was measured well.
    """
    loop = _Loop(target, predictor, wanted, seed, progress)
    before = {item.text for item in target.samples.architectures}
    stopped = loop.run()
    found = target.samples
    drawn = tuple(item.text in loop.drawn for item in found.architectures)
    n_measured = sum(item.text not in before for item in found.architectures)
    return Gathered(found, n_measured, drawn, loop.width, stopped)


def mean_width(predictor: Predictor, architectures: Sequence[Architecture]) -> float | None:
    """Return the mean of (upper - lower) / mean of 90 % intervals; None where too little is known for such."""
    if predictor.probability(architectures, np.inf).min() < (1 + _COVERAGE) / 2:
        return None
    found = predictor.predict(architectures, _COVERAGE)
    return float(np.mean((found.upper_s - found.lower_s) / found.mean_s))


class _Loop:
    """The state of one gathering: what may still be measured, and how much of it."""

    def __init__(self, target: Target, predictor: Predictor, wanted: Wanted, seed: int, progress: Progress) -> None:
        self._target = target
        self._predictor = predictor
        self._wanted = wanted
        self._progress = progress
        rng = np.random.default_rng(seed)
        self._reference = [] if wanted.interval is None else [predictor.space.sample(rng) for _ in range(_REFERENCE)]
        missing = wanted.n - len(target.samples)
        self._pool = target.candidates(max(_POOL, missing)) if missing > 0 else []
        self._tries = wanted.n
        self.drawn: set[str] = set()
        self.width: float | None = None

    def run(self) -> str:
        """Measure until enough is known; return why it ended."""
        n_random = n_drawn(self._wanted.n) if isinstance(self._predictor, Transfer) else 0
        while self._left() > n_random:
            if self._narrow():
                return "the intervals are as narrow as was asked for"
            if not self._take(self._choose(self._left() - n_random)):
                return "nothing is left to measure"
        self._draw()
        if self._narrow():
            return "the intervals are as narrow as was asked for"
        known = len(self._target.samples) >= self._wanted.n
        return "as many are known as were asked for" if known else "as many were tried as were asked for"

    def _left(self) -> int:
        return min(self._wanted.n - len(self._target.samples), self._tries)

    def _narrow(self) -> bool:
        """Return whether the intervals over random architectures are narrow enough, as far as anybody asked."""
        samples = self._target.samples
        if self._wanted.interval is None or len(samples) < 2:
            return False
        fitted = copy(self._predictor).fit(samples.architectures, samples.latency_s)
        self.width = mean_width(fitted, self._reference)
        return self.width is not None and self.width <= self._wanted.interval

    def _choose(self, n: int) -> list[int]:
        samples = self._target.samples
        if self._wanted.interval is not None:
            n = min(n, max(_STEP, len(samples) // _STEP_SHARE))
        return self._predictor.choose(self._pool, n, samples.architectures, samples.latency_s)

    def _draw(self) -> None:
        """Measure the rest of what is wanted, drawn at random."""
        if (n := self._left()) > 0:
            places = Predictor.choose(self._predictor, self._pool, n, self._target.samples.architectures)
            self.drawn = {self._pool[i].text for i in places}
            self._take(places)

    def _take(self, places: Sequence[int]) -> bool:
        """Measure candidates, which then are none any more; return whether there were any."""
        known = len(self._target.samples)

        def shown(done: int, total: int, text: str) -> None:
            self._progress(known + done, max(self._wanted.n, known + total), text)

        if places:
            self._target.measure([self._pool[i] for i in places], shown)
        taken = set(places)
        self._pool = [item for i, item in enumerate(self._pool) if i not in taken]
        self._tries -= len(places)
        return bool(places)
