"""Writing ONNX from an architecture against `torch.onnx.export` of its module.

Ours is timed from the architecture (a tuple of decisions) to bytes: graph, weights, file. The exporters get a module
that is built already, and write bytes as well. Every architecture is another one; all use one thread.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from functools import partial

import numpy as np
import onnxruntime
import torch

from benchmarks._report import options, show
from benchmarks._timing import Comparison, interleave
from hilnas.records import Architecture
from search_spaces._onnx import to_onnx
from search_spaces._torch import GraphModule, to_module
from search_spaces.nasbench201 import NasBench201

SEED = 0
SPACE = NasBench201()


def ours(architecture: Architecture) -> bytes:
    """Return the model, written directly."""
    return to_onnx(SPACE.graph(architecture))


def exported(dynamo: bool, module: GraphModule) -> bytes:
    """Return the model, written by torch's exporter."""
    x = torch.zeros(SPACE.input_shape)
    if dynamo:
        program = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
        data: bytes = program.model_proto.SerializeToString()  # type: ignore[union-attr]
        return data
    buffer = io.BytesIO()
    torch.onnx.export(module, (x,), buffer, dynamo=False)  # type: ignore[arg-type]
    return buffer.getvalue()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep the exporters' progress, warnings and logs off the terminal."""
    logging.disable(logging.WARNING)
    with (
        open(os.devnull, "w") as nowhere,  # noqa: PTH123
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def largest_difference(architecture: Architecture) -> float:
    """Return how far the outputs of the three files lie apart, relative to the largest output."""
    x = np.random.default_rng(SEED).standard_normal(SPACE.input_shape, dtype=np.float32)
    module = to_module(SPACE.graph(architecture)).eval()
    first, *others = (_run(data, x) for data in (ours(architecture), exported(True, module), exported(False, module)))
    return max(float(np.abs(first - other).max() / np.abs(first).max()) for other in others)


def _run(model: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: x})[0]
    return found


def compare(peer: str, dynamo: bool, n: int, target: float) -> Comparison:
    """Time n architectures both ways, after two others of each that warm up."""
    cells = SPACE.sample_distinct(n + 2, seed=SEED + dynamo)
    # Without dead calls: the exporters shall not have more to write than we do.
    pairs = [([cell], [to_module(SPACE.graph(cell).without_dead()).eval()]) for cell in cells]
    interleave(pairs[:2], ours, partial(exported, dynamo), SEED)
    return Comparison(peer, target, *interleave(pairs[2:], ours, partial(exported, dynamo), SEED))


def main() -> int:
    """Print the ratios."""
    chosen = options(__doc__.splitlines()[0])
    torch.set_num_threads(1)
    with silence():
        difference = largest_difference(SPACE.sample_distinct(1, seed=SEED + 2)[0])
        found = [
            compare("torch.onnx.export(dynamo=True)", True, 3 if chosen.quick else 15, 100),
            compare("torch.onnx.export(dynamo=False)", False, 8 if chosen.quick else 60, 10),
        ]
    title = f"ONNX of nasbench201 cells, written directly (outputs agree within {difference:.1e} of the largest):"
    packages = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")
    show(title, found, packages, SEED, chosen.json, largest_difference=difference)
    return 0


if __name__ == "__main__":
    sys.exit(main())
