"""What to measure next: the architectures that would tell a model most about all the others."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilnas.records import Architecture
from predictors._views import views_of
from search_spaces._base import SearchSpace

Array = NDArray[np.float64]

#: So many architectures stand for the space; fewer where each has to be built and traced.
_POOL, _TRACED_POOL = 200, 40
#: Spaces up to this size are enumerated: drawing without repeating would take long near their end.
_MAX_LISTED = 4096
#: Variance of a measurement over that of a feature's effect, a priori.
_NOISE = 0.1


def suggest(space: SearchSpace, known: Sequence[Architecture], n: int, seed: int) -> list[Architecture]:
    """Return at most n architectures whose measurement would lower the mean predictive variance most.

    The model is linear in the features of the view `runtime`; `known` is measured already. One is chosen after the
    other, each from a random pool that also stands for the rest of the space (Cohn, Ghahramani and Jordan 1996).
    """
    pool = _pool(space, frozenset(space.canonical(item) for item in known), seed)
    if not pool:
        return []
    rows = views_of(space).matrix("runtime", [*pool, *known])
    spread = rows.std(axis=0)
    varying = spread > 1e-9 * np.maximum(np.abs(rows).max(axis=0), 1e-300)
    rows = (rows[:, varying] - rows[:, varying].mean(axis=0)) / spread[varying]
    places = _greedy(rows[: len(pool)], rows[len(pool) :], min(n, len(pool)))
    return [pool[place] for place in places]


def command(space: SearchSpace, device: str, architectures: Sequence[Architecture]) -> str:
    """Return the command that measures architectures on a device."""
    parts = ["hilnas", "profile", device, "--space", space.reference, *space_options(space)]
    for item in architectures:
        parts += ["--architecture", item.text]
    return shlex.join(parts)


def with_options(text: str, space: SearchSpace) -> str:
    """Return a command with the options that build this space; as it is where they are the usual ones."""
    return " ".join([text, *space_options(space)])


def space_options(space: SearchSpace) -> list[str]:
    """Return the options of the command line that build this space; none where they are the usual ones."""
    if space.traced:
        return []
    usual = dict(type(space)().options)
    changed = {name: value for name, value in space.options.items() if usual.get(name) != value}
    return [part for name, value in changed.items() for part in ("--space-option", f"{name}={value}")]


def _pool(space: SearchSpace, known: frozenset[str], seed: int) -> list[Architecture]:
    """Return random architectures of different form, none of them known; all there are in a small space."""
    size = _TRACED_POOL if space.traced else _POOL
    if math.prod(space.cardinalities) > _MAX_LISTED:
        return space.sample_distinct(size, seed, exclude=known)
    found = {}
    for item in space.enumerate():
        form = space.canonical(item)
        if form not in known and form not in found and not space.obstacle(item) and space.graph(item).connected:
            found[form] = item
    listed = list(found.values())
    order = np.random.default_rng(seed).permutation(len(listed))[:size]
    return [listed[place] for place in order]


def _greedy(pool: Array, known: Array, n: int) -> list[int]:
    """Return n rows of the pool (m, d), each with the largest drop of the pool's summed variance given those before."""
    covariance = np.linalg.inv(np.eye(pool.shape[1]) + known.T @ known / _NOISE)
    chosen: list[int] = []
    for _ in range(n):
        crossed = pool @ covariance @ pool.T
        gain = (crossed**2).sum(axis=0) / (_NOISE + np.diag(crossed))
        gain[chosen] = -np.inf
        best = int(np.argmax(gain))
        chosen.append(best)
        row = covariance @ pool[best]
        covariance = covariance - np.outer(row, row) / (_NOISE + pool[best] @ row)
    return chosen
