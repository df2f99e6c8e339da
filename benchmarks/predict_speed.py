"""How many architectures a second are predicted, beside a random forest for each class of kernel (as nn-Meter does).

Of NAS-Bench-201 all 15,625 cells, of FBNet 5,000 random networks, in 25 batches each. `first` predicts a batch from
its architectures, with intervals; `again` does so once more, with what is kept of each architecture; `codes` reads
integers (each batch 40 times over) and gives no intervals: only where they are looked up or added up, and without
preparing that, which is shown beside. The forests, 100 trees a class, read architectures (`first`) or kernels that
were found before; all kernels of a class in a batch are one call.

Networks are fitted to made-up times (a cost a block, a rate of multiply-adds, a rate of bytes, 2 % noise): 200 of the
device, 100 of each of two others that `transfer` knows. Boosting has 100 trees. One thread; seconds
are CPU time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks._kernel_forests import KernelForests
from benchmarks._report import options
from benchmarks._timing import Comparison, interleave
from hilnas.output import answer
from hilnas.records import Architecture
from predictors._base import Predictor
from predictors._views import Views
from predictors.gradient_boosting import GradientBoosting
from predictors.lookup_table import LookupTable
from predictors.transfer import Transfer
from search_spaces._base import SearchSpace
from search_spaces._costs import block_costs
from search_spaces._graph import Block
from search_spaces.fbnet import FBNet
from search_spaces.nasbench201 import NasBench201

SEED = 0
ROUNDS, QUICK_ROUNDS = 25, 3
N_FIT, N_SOURCE, N_CHAIN = 200, 100, 5000
REPEATS = 40
#: Seconds a block, a multiply-add and a byte: of the device, and of two others.
LAWS = ((2e-5, 5e-11, 1e-10), (5e-5, 2e-11, 2e-10), (1e-5, 2e-10, 5e-11))
FORESTS = "a forest for each class of kernel"


@dataclass(frozen=True)
class Row:
    """Seconds an architecture of one predictor in one way of asking it, beside the forests."""

    space: str
    predictor: str
    way: str
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        """Return the fields, and architectures a second as median and quartiles."""
        low, median, high = np.percentile(1 / np.array(self.comparison.ours_s), (25, 50, 75)).tolist()
        names = {"space": self.space, "predictor": self.predictor, "way": self.way}
        return {**names, "per_s": median, "per_s_quartiles": [low, high], **self.comparison.to_json()}

    def line(self) -> str:
        """Return the row for people."""
        found = self.to_json()
        (low, high), ratio = found["per_s_quartiles"], found["ratio"]
        return (
            f"{self.space:12} {self.predictor:18} {self.way:6} {found['per_s']:>12,.0f} a second ({low:,.0f} to "
            f"{high:,.0f}), {_figure(ratio['median'])} times the forests ({_figure(ratio['quartiles'][0])} to "
            f"{_figure(ratio['quartiles'][1])})"
        )


def _figure(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def block_s(block: Block, law: Sequence[float]) -> float:
    """Return the made-up seconds of a block."""
    costs = block_costs(block)
    return law[0] + law[1] * costs.macs + law[2] * costs.activation_bytes


def network_s(
    space: SearchSpace, architectures: Sequence[Architecture], law: Sequence[float], seed: int
) -> list[float]:
    """Return the made-up seconds of networks: their live blocks, with noise."""
    noise = np.exp(np.random.default_rng(seed).normal(0, 0.02, len(architectures)))
    sums = [sum(block_s(call.block, law) for call in space.graph(item).live().calls) for item in architectures]
    return [float(value) for value in noise * sums]


def fitted(space: SearchSpace) -> dict[str, Predictor]:
    """Return the predictors by name."""
    sources = []
    for i, law in enumerate(LAWS[1:], start=1):
        networks = space.sample_distinct(N_SOURCE, seed=SEED + i)
        times = network_s(space, networks, law, SEED + i)
        sources.append({"name": f"device {i}", "architectures": [item.text for item in networks], "latency_s": times})
    entries = {block.key: block_s(block, LAWS[0]) for block in space.blocks()}
    found = {
        "lookup_table": LookupTable(space, entries=entries, correction=False),
        "gradient_boosting": GradientBoosting(space, rounds=100),
        "transfer": Transfer(space, sources=sources),
    }
    networks = space.sample_distinct(N_FIT, seed=SEED)
    times = network_s(space, networks, LAWS[0], SEED)
    return {name: predictor.fit(networks, times) for name, predictor in found.items()}


def forests(space: SearchSpace, others: Sequence[SearchSpace]) -> KernelForests:
    """Return the forests, fitted on the blocks of the space and of the same space at other sizes."""
    blocks = [block for item in (space, *others) for block in item.blocks()]
    rng = np.random.default_rng(SEED)
    times = [block_s(block, LAWS[0]) * float(np.exp(rng.normal(0, 0.02))) for block in blocks]
    return KernelForests(space, blocks, times, SEED)


def prepare_s(predictor: Predictor) -> float | None:
    """Return the seconds until a fitted predictor is ready for codes; None where it has nothing to prepare."""
    predictor.views_ = Views(predictor.space)
    start = time.process_time()
    ready = predictor.by_decision()
    return None if ready is None else time.process_time() - start


def compare(
    name: str, predictor: Predictor, peer: KernelForests, batches: Sequence[list[Architecture]]
) -> Iterator[Row]:
    """Yield one row for each way of asking a fitted predictor."""
    space = predictor.space
    kernels = [peer.kernels(batch) for batch in batches]
    codes = [np.tile([item.decisions for item in batch], (REPEATS, 1)) for batch in batches]
    ways: list[tuple[str, Callable[[Any], object], Sequence[Any], Callable[[Any], object], Sequence[Any]]] = [
        ("first", predictor.predict, batches, peer.predict, batches),
        ("again", predictor.predict, batches, peer.predict_kernels, kernels),
    ]
    if predictor.by_decision() is not None:
        ways.append(("codes", predictor.predict_codes, codes, peer.predict_kernels, kernels))
    predictor.views_ = Views(space)
    for way, ours, ours_items, theirs, their_items in ways:
        pairs = [([mine], [other]) for mine, other in zip(ours_items, their_items, strict=True)]
        ours_s, peer_s = interleave(pairs, ours, theirs, SEED, time.process_time)
        per_one = tuple(seconds / len(item) for seconds, item in zip(ours_s, ours_items, strict=True))
        peer_per_one = tuple(seconds / len(batch) for seconds, batch in zip(peer_s, batches, strict=True))
        yield Row(space.name, name, way, Comparison(FORESTS, None, per_one, peer_per_one))


def batches_of(architectures: Sequence[Architecture], rounds: int) -> list[list[Architecture]]:
    """Return the architectures in an order drawn anew, in so many equal batches."""
    order = np.random.default_rng(SEED).permutation(len(architectures)).tolist()
    size = len(order) // rounds
    return [[architectures[i] for i in order[start : start + size]] for start in range(0, size * rounds, size)]


def main() -> int:
    """Print architectures a second, and the ratios."""
    chosen = options(__doc__.splitlines()[0])
    rounds, share = (QUICK_ROUNDS, 20) if chosen.quick else (ROUNDS, 1)
    cells, chain = NasBench201(), FBNet()
    tasks: list[tuple[SearchSpace, list[SearchSpace], list[Architecture]]] = [
        (
            cells,
            [NasBench201(width=w, resolution=r) for w in (4, 8, 24, 32) for r in (16, 24, 48, 64)],
            [*cells.enumerate()],
        ),
        (chain, [FBNet(resolution=r) for r in range(8, 128, 8)], chain.sample_distinct(N_CHAIN, seed=SEED + 9)),
    ]
    rows: list[Row] = []
    prepared_s: dict[str, float | None] = {}
    with threadpool_limits(limits=1):
        for space, others, architectures in tasks:
            peer = forests(space, others)
            batches = batches_of(architectures[::share], rounds)
            for name, predictor in fitted(space).items():
                prepared_s[f"{space.name} {name}"] = prepare_s(predictor)
                rows += compare(name, predictor, peer, batches)
    if chosen.json:
        values = {"rows": [row.to_json() for row in rows], "prepare_codes_s": prepared_s}
        print(json.dumps(answer(values, SEED), indent=2))
        return 0
    for row in rows:
        print(row.line())
    for name, seconds in prepared_s.items():
        print(f"{name}: " + ("n/a of codes" if seconds is None else f"{seconds:.3g} s before the first code"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
