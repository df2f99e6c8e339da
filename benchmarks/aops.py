"""Adjusted operations (AOPS) of random networks of quantised_cnn, and where the published figures lie among them.

AOPS = sum over convolutions of MACs x activation bits x weight bits; the floating-point head does not count. Both
readings of "activation bits" and both layouts are shown: the paper has strides and the bits that a layer reads, its
authors' code has poolings and the bits of a layer's own result.
"""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import numpy as np

from benchmarks._report import options
from hilnas.output import answer
from search_spaces._costs import Activation, aops, layer_rows
from search_spaces.quantised_cnn import KERNELS, QuantisedCnn

SEED = 0
PERCENTILES = (1, 10, 50, 90)
#: RADARS, Table II, in units of 1e9.
PUBLISHED_G = {"RADARS": 2.50, "QuantNAS": 4.09}
LAYOUTS = {"stride": 0, "pool": 1}
READINGS: tuple[Activation, ...] = ("input", "output")


def distribution(layout: str, activation: Activation, n: int, seed: int = SEED) -> dict[str, Any]:
    """Return percentiles of n random networks in 1e9, and the share of networks at or below the published figures."""
    space = QuantisedCnn(pool=LAYOUTS[layout])
    rng = np.random.default_rng(seed)
    found = np.array([aops(space.graph(space.sample(rng)), activation) for _ in range(n)]) / 1e9
    return {
        "layout": layout,
        "activation": activation,
        "n": n,
        "percentiles_g": {str(p): float(np.percentile(found, p)) for p in PERCENTILES},
        "share_at_most": {name: float((found <= value).mean()) for name, value in PUBLISHED_G.items()},
    }


def multiply_adds(layout: str, kernel: int) -> int:
    """Return the multiply-adds of the convolutions of the network with one kernel everywhere."""
    space = QuantisedCnn(pool=LAYOUTS[layout])
    graph = space.graph(space.parse("+".join([f"k{kernel}a1.1w1.1"] * 6)))
    return sum(row["macs"] for row in layer_rows(graph) if row["kind"] == "conv2d")


def main() -> int:
    """Print the figures."""
    chosen = options(__doc__.splitlines()[0])
    n = 1_000 if chosen.quick else 20_000
    macs = {layout: {str(kernel): multiply_adds(layout, kernel) for kernel in KERNELS} for layout in LAYOUTS}
    found = [distribution(layout, reading, n) for layout, reading in itertools.product(LAYOUTS, READINGS)]
    if chosen.json:
        print(json.dumps(answer({"macs": macs, "published_g": PUBLISHED_G, "distributions": found}, SEED), indent=2))
        return 0
    print("Multiply-adds of the convolutions, one kernel everywhere; the floating-point head does not count:")
    for layout, values in macs.items():
        print(f"  {layout:7s}" + "  ".join(f"{kernel}x{kernel} {value:,}" for kernel, value in values.items()))
    print(f"AOPS of {n} random networks in 1e9, and the share of them at or below the published figures:")
    for item in found:
        shown = "  ".join(f"p{p} {value:.2f}" for p, value in item["percentiles_g"].items())
        shares = "  ".join(
            f"{name} {PUBLISHED_G[name]:.2f}: {share:.1%}" for name, share in item["share_at_most"].items()
        )
        print(f"  {item['layout']:7s}{item['activation']:7s} {shown}   {shares}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
