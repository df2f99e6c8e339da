"""Optimisers of supernets against those of torch."""

import subprocess
import sys

import pytest
import torch

from searchers._optimisers import Adam, Sgd

RATES = (0.1, 0.05, 0.02, 0.01)


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, generator=generator).requires_grad_() for size in ((3, 4), (5,), (2,))]


def give_gradients(own, step):
    """Give gradients as a supernet does: one of the parameters gets its first one late, and one misses a step."""
    generator = torch.Generator().manual_seed(step)
    for number, item in enumerate(own):
        gradient = torch.randn(item.shape, generator=generator)
        item.grad = None if (number, step) in {(1, 0), (2, 2)} else gradient


def optimisers(kind, own):
    if kind == "sgd":
        return Sgd(own, 0.9, 3e-4), torch.optim.SGD(parameters(), lr=0.0, momentum=0.9, weight_decay=3e-4)
    return Adam(own, 0.02, 0.5, 1e-3), torch.optim.Adam(parameters(), lr=0.02, betas=(0.5, 0.999), weight_decay=1e-3)


def take(optimiser, own, steps):
    for step in steps:
        give_gradients(own, step)
        rate = (RATES[step],) if isinstance(optimiser, Sgd) else ()
        optimiser.step(*rate)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_steps_are_those_of_torch(kind):
    own = parameters()
    ours, theirs = optimisers(kind, own)
    others = theirs.param_groups[0]["params"]
    for step in range(4):
        take(ours, own, [step])
        give_gradients(others, step)
        if kind == "sgd":
            theirs.param_groups[0]["lr"] = RATES[step]
        theirs.step()
        for one, other in zip(own, others, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_what_was_stopped_goes_on_bit_for_bit(kind):
    whole, half = parameters(), parameters()
    take(optimisers(kind, whole)[0], whole, range(4))
    before = optimisers(kind, half)[0]
    take(before, half, range(2))
    after = optimisers(kind, half)[0]
    after.load_state(before.state())
    take(after, half, range(2, 4))
    assert all(torch.equal(one, other) for one, other in zip(whole, half, strict=True))


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_state_of_other_parameters_is_refused(kind):
    own = parameters()
    optimiser = optimisers(kind, own)[0]
    take(optimiser, own, range(2))
    with pytest.raises(ValueError):
        optimisers(kind, own[:2])[0].load_state(optimiser.state())
    with pytest.raises(ValueError, match="of shape"):
        optimisers(kind, own[::-1])[0].load_state(optimiser.state())


def test_a_search_does_not_load_the_compiler_of_torch():
    code = (
        "import sys, torch\n"
        "from search_spaces.nasbench201 import NasBench201\n"
        "from searchers._supernet_search import DCA_NAS, SupernetSearch\n"
        "search = SupernetSearch(NasBench201(width=8, depth=1, resolution=8), DCA_NAS)\n"
        "batch = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])\n"
        "search.step(batch, batch, 0.01)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
