"""Seeded, sensible weights without torch: latency needs numbers of a usual size, not trained ones."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray

from search_spaces._graph import Block, Graph, Operator
from search_spaces._moments import running_variances, weight_deviation

Weights = Mapping[str, NDArray[np.float32]]

#: Changes whenever the same seed gives other numbers: recipes name it.
POOL_VERSION = 1
#: Places where a tensor may begin in the pool, and what follows the last of them.
_PLACES = 1 << 20
_TAIL = 1 << 17


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A parameter or statistic inside a block: `name` is `operator.parameter`.

    `constant` is its value where it starts as one; else it starts normal with standard deviation `scale`.
    """

    name: str
    shape: tuple[int, ...]
    constant: NDArray[np.float32] | None = None
    scale: float = 1.0


def make_weights(graph: Graph, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return weights by `call.operator.parameter`: He-normal convolutions (fan in), normalisation that normalises.

    Fixed-point weights are those before rounding, large enough that some are left after it.

    The same name, shape and seed give the same bits on every machine. Constants are shared and read-only. Values are
    cut from one pool of normal numbers at a place that depends on the name: copying costs a tenth of drawing.
    Raises UsageError for a traced graph.
    """
    graph.need_own()
    pool = make_pool(seed)
    variances = running_variances(graph)
    found: dict[str, NDArray[np.float32]] = {}
    for call in graph.calls:
        for parameter in parameters(call.block):
            name = f"{call.name}.{parameter.name}"
            if parameter.name.endswith(".running_var"):
                found[name] = np.full(parameter.shape, variances[name.removesuffix(".running_var")], np.float32)
            elif parameter.constant is None:
                found[name] = cut(pool, name, parameter.shape) * parameter.scale
            else:
                found[name] = parameter.constant
    return found


@lru_cache(maxsize=4096)
def parameters(block: Block) -> tuple[Parameter, ...]:
    """Return the parameters and statistics of a block, named and shaped as torch does."""
    return tuple(parameter for operator in block.operators for parameter in _parameters(operator))


def _parameters(operator: Operator) -> list[Parameter]:
    before, after = operator.input_spec.shape, operator.output_spec.shape
    if operator.kind == "batch_norm":
        starts = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        return [_constant(f"{operator.name}.{part}", after[1], start) for part, start in starts.items()]
    if operator.kind not in ("conv2d", "linear"):
        return []
    kernel = (operator.kernel, operator.kernel) if operator.kind == "conv2d" else ()
    shape = (after[1], before[1] // operator.groups, *kernel)
    weight = Parameter(f"{operator.name}.weight", shape, scale=weight_deviation(operator))
    return [weight, _constant(f"{operator.name}.bias", after[1], 0.0)] if operator.bias else [weight]


def _constant(name: str, n: int, value: float) -> Parameter:
    values = np.full(n, value, np.float32)
    values.setflags(write=False)
    return Parameter(name, (n,), values)


def pool_start(name: str) -> int:
    """Return where the tensor of a name begins in the pool."""
    return zlib.crc32(name.encode()) % _PLACES


def cut(pool: NDArray[np.float32], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the numbers of a tensor; one that is longer than what is left of the pool repeats it."""
    size, start = prod(shape), pool_start(name)
    if start + size <= pool.size:
        return pool[start : start + size].reshape(shape)
    return np.resize(pool[start:], shape)


@lru_cache(maxsize=4)
def make_pool(seed: int) -> NDArray[np.float32]:
    """Return nearly normal numbers: sums of eight 16-bit integers (Irwin-Hall), centred and scaled.

    Integers are summed exactly and numpy guarantees the raw stream of a bit generator, so the values are the same
    on every machine and version; those of `standard_normal` are not.
    """
    n = _PLACES + _TAIL
    raw = np.random.PCG64(seed).random_raw(2 * n).astype("<u8", copy=False).view("<u2").reshape(8, n)
    centred = raw.sum(axis=0, dtype=np.int32) - 4 * 0xFFFF
    standard_deviation = sqrt(8 * (2**32 - 1) / 12)
    values: NDArray[np.float32] = centred.astype(np.float32) * np.float32(1.0 / standard_deviation)
    values.setflags(write=False)
    return values
