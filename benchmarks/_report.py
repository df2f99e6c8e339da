"""What every benchmark prints: one JSON object or a few lines."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from benchmarks._timing import Comparison
from hilnas.output import answer


def options(description: str) -> argparse.Namespace:
    """Return `--json` and `--quick` as the command line has them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    return parser.parse_args()


def show(
    title: str, comparisons: Sequence[Comparison], packages: Sequence[str], seed: int, as_json: bool, **facts: Any
) -> None:
    """Print the comparisons."""
    if as_json:
        values = {"comparisons": [item.to_json() for item in comparisons], **facts}
        found = answer(values, seed)
        found["versions"] |= {package: version(package) for package in packages}
        print(json.dumps(found, indent=2))
        return
    print(title)
    for item in comparisons:
        print(item.line())
