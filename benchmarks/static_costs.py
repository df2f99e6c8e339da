"""Multiply-adds of architectures, modules and ONNX files against fvcore, torch and ptflops.

Counts: samples of the search spaces and common networks, each counted from its module, from an ONNX export and (the
samples) from its graph; exact agreement with fvcore's convolutions, linear layers and matrix products, or the named
reason. Exits 3 where neither holds.

Speed: of a graph, timed from the architecture (a tuple of decisions): graph and counts; fvcore gets modules that are
built already, counts flops and parameters and has no AOPS; both count the same 5 architectures a timing. Of modules,
the table of all layers with torch's own counter beside it, against fvcore's analysis and against ptflops (n/a where
it is not installed); both get the same module, a network a timing. All use one thread.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from fvcore.nn import FlopCountAnalysis, parameter_count
from torch import nn

from benchmarks._count_table import Counted, count, fvcore_macs, networks, ptflops_macs
from benchmarks._more_networks import Network
from benchmarks._networks import Shape
from benchmarks._report import options, show
from benchmarks._timing import Comparison, interleave
from hilnas.records import Architecture
from search_spaces._costs import StaticCosts, static_costs
from search_spaces._layer_costs import Input
from search_spaces._module_costs import module_costs
from search_spaces._torch import GraphModule, to_module
from search_spaces.nasbench201 import NasBench201

Peer = Callable[[tuple[nn.Module, Shape]], object]

SEED = 0
#: Architectures a timing; all are different.
BATCH = 5
SPACE = NasBench201()


def ours(architecture: Architecture) -> StaticCosts:
    """Return the costs from the graph."""
    return static_costs(SPACE.graph(architecture))


def counted(module: GraphModule) -> tuple[int, int]:
    """Return multiply-adds of convolutions and linear layers, and parameters, as fvcore counts them."""
    analysis = FlopCountAnalysis(module, torch.zeros(SPACE.input_shape))
    flops = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    return flops["conv"] + flops["linear"], parameter_count(module)[""]


def prepared(cells: list[Architecture]) -> Iterator[tuple[list[Architecture], list[GraphModule]]]:
    """Yield batches of architectures with their modules, once the counts of the first are known to agree."""
    for start in range(0, len(cells), BATCH):
        batch = cells[start : start + BATCH]
        modules = [to_module(SPACE.graph(cell)).eval() for cell in batch]
        costs = ours(batch[0])
        if counted(modules[0]) != (costs.macs, costs.params):
            raise AssertionError(f"fvcore counts {batch[0]} differently")
        yield batch, modules


def of_graphs(n: int) -> Comparison:
    """Return the speed of counting a graph."""
    cells = SPACE.sample_distinct((n + 2) * BATCH, seed=SEED)
    interleave(prepared(cells[: 2 * BATCH]), ours, counted, SEED)
    return Comparison("fvcore (graphs)", 200, *interleave(prepared(cells[2 * BATCH :]), ours, counted, SEED))


def of_modules(found: list[Network], repetitions: int) -> list[Comparison]:
    """Return the speed of counting modules, each network as often."""
    built = [(network.build().eval(), network.shape) for network in found]
    pairs = [([item], [item]) for _ in range(repetitions) for item in built]
    peers: list[tuple[str, float | None, Peer]] = [("fvcore (modules)", 1, lambda item: fvcore_macs(*item))]
    if find_spec("ptflops") is not None:
        peers.append(("ptflops (modules)", None, lambda item: ptflops_macs(*item)))
    gc.freeze()  # garbage is collected before each timing: not among what is there to stay
    try:
        for _, _, peer in peers:
            interleave(pairs[: len(built)], _table, peer, SEED)  # what both load only once
        return [Comparison(name, target, *interleave(pairs, _table, peer, SEED)) for name, target, peer in peers]
    finally:
        gc.unfreeze()


def _table(item: tuple[nn.Module, Shape]) -> object:
    return module_costs(item[0], [Input(item[1])])


def print_counts(rows: list[Counted]) -> None:
    """Print every network, then how many agree and what nobody counts."""
    for row in rows:
        more = "n/a" if row.ptflops is None else f"{row.ptflops / row.module - 1:+7.1%}"
        print(f"{row.name:20} {row.module:>14,} MACs  {row.verdict}; ptflops {more}")
    exact = sum(row.agrees for row in rows)
    named = sum(row.verdict not in ("exact", "MISMATCH") for row in rows)
    uncounted = sorted({name for row in rows for name in row.uncounted})
    print(f"{len(rows)} networks: {exact} exactly fvcore's count, {named} with a named reason")
    print(f"operators nobody counts: {', '.join(uncounted) or 'none'}")


def main() -> int:
    """Print counts and ratios; return 3 where a count differs without a reason."""
    chosen = options(__doc__.splitlines()[0])
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    every = list(networks(SEED, 4 if chosen.quick else 12))
    rows = [count(network, macs) for network, macs in every]
    timed = [network for network, _ in every]
    found = [of_graphs(8 if chosen.quick else 60), *of_modules(timed, 1 if chosen.quick else 5)]
    installed = [name for name in ("torch", "fvcore", "numpy", "onnx", "ptflops") if find_spec(name) is not None]
    if not chosen.json:
        print_counts(rows)
    title = "Speed of counting (MACs, parameters, of graphs AOPS, of modules a table of all layers):"
    show(title, found, installed, SEED, chosen.json, counts=[row.to_json() for row in rows])
    if len(found) < 3 and not chosen.json:
        print("     n/a against ptflops: pip install ptflops")
    return 3 if any(row.verdict == "MISMATCH" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
