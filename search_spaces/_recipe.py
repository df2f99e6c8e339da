"""The recipe of a network: what a device needs to write the same ONNX file itself, without its weights.

A recipe is compressed with zlib: one line of JSON, a line feed, then the bytes that are copied as they are. The line
names `format`, `pool` (seed and version of the numbers weights are cut from), `size` and `sha256` of the file, and
its `pieces` in order:

    ["copy", n]                      the next n bytes
    ["fill", value, n]               n times a float32
    ["pool", start, n, [f, ...]]     n numbers of the pool from start on, multiplied with one float32 after the other
    ["fixed", start, n, [f, ...], i, b]  the same, rounded to fixed point of i integer and b fraction bits

`devices/agent/_assemble.py` reads it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from search_spaces._graph import Graph
from search_spaces._onnx import Writer, folded_scale
from search_spaces._quantiser import FixedPoint, quantise
from search_spaces._weights import POOL_VERSION, Weights, cut, make_pool, make_weights, parameters, pool_start

FORMAT = 1
MAX_SEED = 2**64 - 1


def to_recipe(graph: Graph, seed: int = 0) -> bytes:
    """Return the recipe of `to_onnx(graph, seed=seed)`; raise UsageError for a seed beyond 64 bits."""
    return to_onnx_and_recipe(graph, seed)[1]


def to_onnx_and_recipe(graph: Graph, seed: int = 0) -> tuple[bytes, bytes]:
    """Return the network as ONNX and its recipe, in little more time than one of them takes."""
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"{seed} is no seed of a recipe", f"Seeds go from 0 to {MAX_SEED}.")
    graph = graph.without_dead()
    weights = make_weights(graph, seed)
    sources = _sources(graph, weights)
    recipe = _Recipe(make_pool(seed))
    model: list[bytes | memoryview] = []
    for piece in Writer(weights).pieces(graph):
        if isinstance(piece, bytes):
            recipe.copy(piece)
            model.append(piece)
        else:
            recipe.tensor(*piece, sources.get(piece[0]))
            model.append(piece[1].data)
    data = b"".join(model)
    return data, recipe.packed(data, seed)


class _Source(NamedTuple):
    """How a tensor comes from the pool: multiplied with one factor after the other, then rounded, where it is."""

    factors: tuple[np.float32, ...]
    form: FixedPoint | None

    def values(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the tensor of the pool's numbers."""
        for factor in self.factors:
            numbers = numbers * factor
        return numbers if self.form is None else quantise(numbers, self.form)


class _Recipe:
    """Collects the pieces of a file."""

    def __init__(self, pool: NDArray[np.float32]) -> None:
        self._pool = pool
        self._copied: list[bytes] = []
        self._pieces: list[list[Any]] = []

    def copy(self, data: bytes) -> None:
        """Append bytes as they are."""
        self._copied.append(data)
        if self._pieces and self._pieces[-1][0] == "copy":
            self._pieces[-1][1] += len(data)
        else:
            self._pieces.append(["copy", len(data)])

    def tensor(self, name: str, values: NDArray[np.float32], source: _Source | None) -> None:
        """Append a tensor in the shortest form that gives exactly its bits."""
        if _is_constant(values):
            self._pieces.append(["fill", float(values.flat[0]), values.size])
        elif source is not None and _same_bits(values, source.values(cut(self._pool, name, values.shape))):
            kind, form = ("pool", []) if source.form is None else ("fixed", list(astuple(source.form)))
            self._pieces.append([kind, pool_start(name), values.size, [float(item) for item in source.factors], *form])
        else:
            self.copy(values.tobytes())

    def packed(self, data: bytes, seed: int) -> bytes:
        """Return the recipe of the file `data`."""
        head = {
            "format": FORMAT,
            "pool": {"seed": seed, "version": POOL_VERSION},
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "pieces": self._pieces,
        }
        line = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
        return zlib.compress(b"\n".join((line, b"".join(self._copied))), 9)


def _sources(graph: Graph, weights: Weights) -> Mapping[str, _Source]:
    """Return tensor -> how its numbers come from the pool: its scale, then that of a normalisation.

    One number stands for all channels of a normalisation; where they differ the tensor will not agree and is copied.
    """
    found = {}
    for call in graph.calls:
        forms = {operator.name: operator.form for operator in call.block.operators}
        for parameter in parameters(call.block):
            if parameter.constant is not None or parameter.name.endswith(".running_var"):
                continue
            layer = parameter.name.removesuffix(".weight")
            scales: tuple[np.float32, ...] = (np.float32(parameter.scale),)
            normalisation = call.block.folded.get(layer)
            if normalisation is not None:
                scales = (*scales, folded_scale(weights, f"{call.name}.{normalisation}")[0])
            found[f"{call.name}.{parameter.name}"] = _Source(scales, forms[layer])
    return found


def _is_constant(values: NDArray[np.float32]) -> bool:
    bits = values.reshape(-1).view(np.uint32)
    return bool(bits.size and np.isfinite(values.flat[0]) and (bits == bits[0]).all())


def _same_bits(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    return np.array_equal(left.view(np.uint32), np.ascontiguousarray(right).view(np.uint32))
