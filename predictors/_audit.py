"""The arithmetic of the additivity audit: sums of entries against measured networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.records import Provenance
from predictors._base import Predictions
from predictors._coefficients import BlockCoefficient, block_coefficients
from predictors._conformal import assign_folds
from predictors._entries import BlockEntry, EntryValue
from predictors._evaluation import Scores, evaluate
from predictors._graph_choice import GRAPHS
from predictors._linear import fit_line
from predictors._pairs import PairVerdict, Uses, call_entry, judge_pairs
from predictors._samples import Samples
from predictors._views import views_of
from predictors.lookup_table import LookupTable
from search_spaces._base import SearchSpace
from search_spaces._graph import Block

Array = NDArray[np.float64]
_ROUNDS = 5
_DRAWS = 500
_TABLE: tuple[Provenance, ...] = ("table",)


@dataclass(frozen=True)
class Findings:
    """How the sum of the entries compares with `n` networks.

    `ratio`: median of latency / sum; `call_s`: what a call costs beside its blocks, None where no pairs tell. `slope`
    and `intercept_s` of latency = intercept + slope x sum with their 95 % intervals, `residual_sd` its relative
    spread. `parameters`: those of a lookup table fitted to all networks (which graph is costed, which correction is
    on). `held_out`: figures of the bare sum, of the line, and of the line with the correction if it wins, every
    network predicted by a fit that has not seen it.
    """

    n: int
    graph: str
    ratio: float
    slope: float
    slope_interval: tuple[float, float]
    intercept_s: float
    intercept_interval_s: tuple[float, float]
    residual_sd: float
    call_s: float | None
    parameters: Mapping[str, Any]
    held_out: Mapping[str, Scores]
    blocks: tuple[BlockCoefficient, ...]
    constant_blocks: tuple[str, ...]
    pairs: tuple[PairVerdict, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value; `breaking_blocks` and `fused_pairs` name what breaks additivity."""
        plain = ("n", "graph", "ratio", "slope", "intercept_s", "residual_sd", "call_s")
        return {
            **{name: getattr(self, name) for name in plain},
            "slope_interval": list(self.slope_interval),
            "intercept_interval_s": list(self.intercept_interval_s),
            "parameters": dict(self.parameters),
            "held_out": {name: scores.to_json() for name, scores in self.held_out.items()},
            "breaking_blocks": [list(item.blocks) for item in self.blocks if item.breaks],
            "fused_pairs": [[item.first, item.second] for item in self.pairs if item.verdict == "fused"],
            "blocks": [item.to_json() for item in self.blocks],
            "constant_blocks": list(self.constant_blocks),
            "pairs": [item.to_json() for item in self.pairs],
        }


def audit(
    space: SearchSpace,
    entries: Mapping[str, EntryValue],
    samples: Samples,
    pairs: Sequence[tuple[Block, Block]],
    uses: Uses,
    measured: Mapping[str, BlockEntry],
    seed: int,
) -> Findings:
    """Return the findings; `measured` holds pairs by key, and blocks with themselves. Deterministic."""
    y = samples.latency_s
    table = LookupTable(space, entries=entries, seed=seed).fit(samples.architectures, y)
    parameters = table.parameters()
    keys = [block.key for block in space.blocks()]
    known = {**{key: BlockEntry.of(entries[key]) for key in keys}, **measured}
    times = [known[key] for key in keys]
    counts = _counts(space, samples, parameters["graph"])
    sums = counts @ np.array([entry.latency_s for entry in times])
    line = fit_line(sums[:, None], y)
    bounds = _line_bounds(sums, y, seed)
    call = call_entry(space.blocks(), known)
    blocks, constant = block_coefficients(keys, counts, times, y)
    return Findings(
        n=len(y),
        graph=parameters["graph"],
        ratio=float(np.median(y / sums)),
        slope=float(line.coefficients[0]),
        slope_interval=bounds[0],
        intercept_s=line.intercept,
        intercept_interval_s=bounds[1],
        residual_sd=float((y / line(sums[:, None]) - 1).std()),
        call_s=None if call is None else call.latency_s,
        parameters=parameters,
        held_out=_held_out(space, entries, samples, sums, seed),
        blocks=tuple(blocks),
        constant_blocks=constant,
        pairs=tuple(judge_pairs(pairs, uses, known, float(np.median(y)))),
    )


def _counts(space: SearchSpace, samples: Samples, graph: str) -> Array:
    """Return how often each network pays for each block, shape (n, blocks)."""
    rows = views_of(space).matrix("costed", samples.architectures)
    return rows.reshape(len(samples), len(GRAPHS), -1)[:, GRAPHS.index(graph)]


def _line_bounds(sums: Array, y: Array, seed: int) -> list[tuple[float, float]]:
    """Return the 95 % intervals of slope and intercept by the bootstrap over networks."""
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(len(y), size=len(y)) for _ in range(_DRAWS)]
    lines = [fit_line(sums[places, None], y[places]) for places in drawn]
    found = np.array([(line.coefficients[0], line.intercept) for line in lines])
    return [(float(low), float(high)) for low, high in np.percentile(found, (2.5, 97.5), axis=0).T]


def _held_out(
    space: SearchSpace, entries: Mapping[str, EntryValue], samples: Samples, sums: Array, seed: int
) -> dict[str, Scores]:
    forms = [space.canonical(item) for item in samples.architectures]
    folds = assign_folds(forms, min(_ROUNDS, len(set(forms))), seed)
    found = {"sum": _points(sums)}
    for name, correction in (("additive", False), ("additive_residual", None)):
        guesses = [np.empty(len(samples)) for _ in range(3)]
        for fold in range(folds.max() + 1):
            train, test = np.flatnonzero(folds != fold).tolist(), np.flatnonzero(folds == fold).tolist()
            learner = LookupTable(space, entries=entries, correction=correction, seed=seed)
            seen, held = samples.take(train), samples.take(test)
            guess = learner.fit(seen.architectures, seen.latency_s).predict(held.architectures)
            for whole, part in zip(guesses, (guess.mean_s, guess.lower_s, guess.upper_s), strict=True):
                whole[test] = part
        found[name] = Predictions(guesses[0], guesses[1], guesses[2], _TABLE * len(samples))
    limit_s = float(np.median(samples.latency_s))
    scores = {name: evaluate(samples.latency_s, guess, limit_s) for name, guess in found.items()}
    # The bare sum has no interval.
    scores["sum"] = replace(scores["sum"], coverage=None, interval_width=None, violation_upper=None)
    return scores


def _points(mean_s: Array) -> Predictions:
    return Predictions(mean_s, mean_s, mean_s, _TABLE * len(mean_s))
