"""Seeded, sensible weights without torch: latency needs numbers of a usual size, not trained ones."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces._graph import Graph, Operator

Weights = Mapping[str, NDArray[np.float32]]

_POOL = 1 << 20


def make_weights(graph: Graph, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return weights by `call.operator.parameter`: He-normal convolutions (fan in), neutral normalisation.

    The same name, shape and seed give the same values on every machine. Values are cut from one pool of standard
    normal numbers at a place that depends on the name, since copying costs a tenth of drawing.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for call, operator in graph.operators:
        for parameter, shape in parameter_shapes(operator).items():
            name = f"{call.name}.{operator.name}.{parameter}"
            found[name] = _values(name, operator, parameter, shape, seed)
    return found


@lru_cache(maxsize=4096)
def parameter_shapes(operator: Operator) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an operator's parameters and statistics, as torch names them."""
    before, after = operator.input_spec.shape, operator.output_spec.shape
    if operator.kind == "conv2d":
        shapes = {"weight": (after[1], before[1] // operator.groups, operator.kernel, operator.kernel)}
        return {**shapes, "bias": (after[1],)} if operator.bias else dict(shapes)
    if operator.kind == "linear":
        matrix = {"weight": (after[1], before[1])}
        return {**matrix, "bias": (after[1],)} if operator.bias else dict(matrix)
    if operator.kind == "batch_norm":
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (after[1],))
    return {}


def _values(name: str, operator: Operator, parameter: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    if parameter == "weight" and operator.kind != "batch_norm":
        fan_in = float(np.prod(shape[1:]))
        return _normal(name, shape, seed) * np.float32(np.sqrt(2.0 / fan_in))
    one = operator.kind == "batch_norm" and parameter in ("weight", "running_var")
    return np.full(shape, 1.0 if one else 0.0, np.float32)


def _normal(name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    size = int(np.prod(shape))
    pool = _pool(seed)
    start = zlib.crc32(name.encode()) % _POOL
    if start + size <= pool.size:
        return pool[start : start + size].reshape(shape)
    return np.take(pool, np.arange(start, start + size), mode="wrap").reshape(shape)


@lru_cache(maxsize=4)
def _pool(seed: int) -> NDArray[Any]:
    values = np.random.default_rng(seed).standard_normal(_POOL + (1 << 18), dtype=np.float32)
    values[np.abs(values) < 1e-6] = 1e-6  # far from subnormal numbers after any scaling
    values.setflags(write=False)
    return values
