"""MACs, parameters and AOPS of an architecture against fvcore's count of its module.

Ours is timed from the architecture (a tuple of decisions): graph and counts. fvcore gets modules that are built
already, and counts flops and parameters; it has no AOPS. Both count the same 5 architectures a timing, every one
another; all use one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
from fvcore.nn import FlopCountAnalysis, parameter_count

from benchmarks._report import options, show
from benchmarks._timing import Comparison, interleave
from hilnas.records import Architecture
from search_spaces._costs import StaticCosts, static_costs
from search_spaces._torch import GraphModule, to_module
from search_spaces.nasbench201 import NasBench201

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


def main() -> int:
    """Print the ratio."""
    chosen = options(__doc__.splitlines()[0])
    torch.set_num_threads(1)
    n = 8 if chosen.quick else 60
    cells = SPACE.sample_distinct((n + 2) * BATCH, seed=SEED)
    interleave(prepared(cells[: 2 * BATCH]), ours, counted, SEED)
    found = Comparison("fvcore", 200, *interleave(prepared(cells[2 * BATCH :]), ours, counted, SEED))
    title = "MACs, parameters and AOPS of nasbench201 cells (all counts agree):"
    show(title, [found], ("torch", "fvcore", "numpy"), SEED, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
