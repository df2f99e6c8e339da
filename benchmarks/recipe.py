"""Recipes of networks: their size beside that of the files, assembling a file beside writing it from the graph.

Assembling includes the check of the hash; the pool is there, as it is on a board after the first model. Every
architecture is another one of nasbench201 at its published size.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from benchmarks._report import options, show
from benchmarks._timing import Comparison, interleave
from devices.agent._assemble import assemble
from search_spaces._onnx import to_onnx
from search_spaces._recipe import to_recipe
from search_spaces.nasbench201 import NasBench201

SEED = 0
#: Both end in copying the weights once; assembling also checks a hash of them, which writing does not.
TARGET = 0.5
SPACE = NasBench201()


def main() -> int:
    """Print the ratios."""
    chosen = options(__doc__.splitlines()[0])
    graphs = [SPACE.graph(item) for item in SPACE.sample_distinct(12 if chosen.quick else 200, seed=SEED)]
    recipes = [to_recipe(graph) for graph in graphs]
    with tempfile.TemporaryDirectory() as pools:
        files = [assemble(recipe, pools) for recipe in recipes]
        pairs = [([recipe], [graph]) for recipe, graph in zip(recipes, graphs, strict=True)]
        times = interleave(pairs, lambda recipe: assemble(recipe, pools), to_onnx, SEED)
    same = all(file == to_onnx(graph) for file, graph in zip(files, graphs, strict=True))
    shares = [len(recipe) / len(file) for recipe, file in zip(recipes, files, strict=True)]
    facts = {
        "same_bytes": same,
        "recipe_bytes_median": statistics.median(map(len, recipes)),
        "recipe_bytes_max": max(map(len, recipes)),
        "onnx_bytes_median": statistics.median(map(len, files)),
        "recipe_share_median": statistics.median(shares),
    }
    found = Comparison("to_onnx", TARGET, *times)
    if chosen.json:
        show("", [found], ("numpy", "onnx"), SEED, True, **facts)
    else:
        print(_text(found.to_json(), facts))
    return 0 if same else 1


def _text(times: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    ratio = times["ratio"]
    low, high = ratio["quartiles"]
    return (
        f"Recipes of {times['n']} nasbench201 networks: {facts['recipe_bytes_median']:.0f} bytes, at most "
        f"{facts['recipe_bytes_max']}, for files of {facts['onnx_bytes_median']:.0f} (medians); median share "
        f"{100 * facts['recipe_share_median']:.2g} %; the bytes {'agree' if facts['same_bytes'] else 'DIFFER'}\n"
        f"Assembled in {times['ours_s'] * 1e3:.3g} ms, written in {times['peer_s'] * 1e3:.3g} ms (medians); ratio "
        f"{ratio['median']:.2f}, quartiles {low:.2f} to {high:.2f}; target {TARGET}: "
        f"{'met' if times['met'] else 'MISSED'}"
    )


if __name__ == "__main__":
    sys.exit(main())
