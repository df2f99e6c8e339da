"""Modules that are not made from a graph of ours: seeded weights, and statistics as after training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

T = TypeVar("T")

_BATCH = 4


def seeded(build: Callable[[], T], seed: int) -> T:
    """Return what `build` makes from torch's random numbers under a seed; its generator goes on as if nothing was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def settle(module: nn.Module, shape: tuple[int, ...], seed: int) -> None:
    """Give normalisations that have seen nothing the statistics of one seeded batch, as training would.

    With neutral ones the numbers in a deep network fade layer by layer, down to where processors are slow. A network
    that takes no other batch size than its own keeps them.
    """
    norms = [item for item in module.modules() if isinstance(item, _BatchNorm) and _untouched(item)]
    if not norms:
        return
    x = torch.randn((_BATCH, *shape[1:]), generator=torch.Generator().manual_seed(seed))
    with _learning(module, norms), _one_thread(), torch.no_grad():
        try:
            module(x)
        except Exception:  # whatever a module of the user's does not like about another batch size
            for norm in norms:
                norm.reset_running_stats()


@contextmanager
def _learning(module: nn.Module, norms: list[_BatchNorm]) -> Iterator[None]:
    """Let these normalisations, and nothing else, take over the statistics of what they see."""
    training, momenta = module.training, [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.train().momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.zero_()
        module.train(training)


def _untouched(norm: _BatchNorm) -> bool:
    """Return whether running statistics are those of a new layer; where there are none, none are needed."""
    mean, variance = norm.running_mean, norm.running_var
    return mean is not None and variance is not None and not mean.any() and bool((variance == 1).all())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums come out the same whatever the number of threads, with one of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
