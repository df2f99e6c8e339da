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


def gradients(step):
    """Return gradients as a supernet has them: one of the parameters gets its first one late, and one misses a step."""
    generator = torch.Generator().manual_seed(step)
    found = [torch.randn(item.shape, generator=generator) for item in parameters()]
    return [None if (number, step) in {(1, 0), (2, 2)} else item for number, item in enumerate(found)]


OURS = {
    "sgd": lambda own: Sgd(own, 0.9, 3e-4),
    "nesterov": lambda own: Sgd(own, 0.9, 5e-4, nesterov=True),
    "adam": lambda own: Adam(own, 0.02),
    "adam with decay": lambda own: Adam(own, 0.02, 0.5, 1e-3),
}
THEIRS = {
    "sgd": lambda own: torch.optim.SGD(own, lr=0.1, momentum=0.9, weight_decay=3e-4),
    "nesterov": lambda own: torch.optim.SGD(own, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
    "adam": lambda own: torch.optim.Adam(own, lr=0.02),
    "adam with decay": lambda own: torch.optim.Adam(own, lr=0.02, betas=(0.5, 0.999), weight_decay=1e-3),
}


def take(optimiser, steps):
    for step in steps:
        rate = (RATES[step],) if isinstance(optimiser, Sgd) else ()
        optimiser.step(gradients(step), *rate)


@pytest.mark.parametrize("kind", OURS)
def test_steps_are_those_of_torch(kind):
    own, others = parameters(), parameters()
    ours, theirs = OURS[kind](own), THEIRS[kind](others)
    for step in range(4):
        take(ours, [step])
        for item, gradient in zip(others, gradients(step), strict=True):
            item.grad = gradient
        if isinstance(ours, Sgd):
            theirs.param_groups[0]["lr"] = RATES[step]
        theirs.step()
        assert all(torch.equal(one, other) for one, other in zip(own, others, strict=True))


@pytest.mark.parametrize("kind", OURS)
def test_what_was_stopped_goes_on_bit_for_bit(kind):
    whole, half = parameters(), parameters()
    take(OURS[kind](whole), range(4))
    before, after = OURS[kind](half), OURS[kind](half)
    take(before, range(2))
    after.load_state(before.state())
    take(after, range(2, 4))
    assert all(torch.equal(one, other) for one, other in zip(whole, half, strict=True))


@pytest.mark.parametrize("kind", OURS)
def test_the_state_of_other_parameters_is_refused(kind):
    own = parameters()
    optimiser = OURS[kind](own)
    take(optimiser, range(2))
    with pytest.raises(ValueError):
        OURS[kind](own[:2]).load_state(optimiser.state())
    with pytest.raises(ValueError, match="of shape"):
        OURS[kind](own[::-1]).load_state(optimiser.state())


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
