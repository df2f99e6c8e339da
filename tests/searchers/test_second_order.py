"""Second-order DARTS against a step that is really unrolled, and the arithmetic of supernets."""

from dataclasses import replace

import pytest
import torch
from torch.func import functional_call

import searchers._supernet_search as module_of_search
from search_spaces.nasbench201 import NasBench201
from searchers._optimisers import Adam
from searchers._supernet_search import DARTS, DCA_NAS, PC_DARTS, Arithmetic, SupernetSearch

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = NasBench201(width=4, depth=1, resolution=8, classes=4)
#: With enough weight decay to see it.
SECOND = replace(DARTS, order=2, weight_decay=0.1)
RATE = 0.05
MOMENTUM = 0.9


def batch(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(12, 3, 8, 8, generator=generator, dtype=dtype), torch.randint(4, (12,), generator=generator)


@pytest.fixture
def search(monkeypatch):
    """Return a search in double precision after a step in the weights, so that they have a momentum.

    It is smooth: where a difference crosses the kink of a ReLU it says something else than the derivative.
    """
    monkeypatch.setattr(torch.nn.ReLU, "forward", lambda self, x: torch.nn.functional.softplus(x))
    found = SupernetSearch(SPACE, SECOND, seed=1)
    found.module.double()
    found._logits = [item.detach().double().requires_grad_() for item in found._logits]
    found.step_in_weights(batch(5), RATE)
    return found


def loss(search, weights, data):
    shares = [torch.softmax(item, 0) for item in search._logits]
    # Normalisation notes what it has seen: on copies, or it would be another module afterwards.
    buffers = {name: item.clone() for name, item in search.module.named_buffers()}
    outputs = functional_call(search.module, {**weights, **buffers}, (data[0], shares))
    return torch.nn.functional.cross_entropy(outputs, data[1])


def unrolled(search, validation, training, penalty=None):
    """Return gradients of the validation loss after one step of SGD, differentiated through that step."""
    weights = dict(search.module.named_parameters())
    gradients = torch.autograd.grad(loss(search, weights, training), list(weights.values()), create_graph=True)
    stepped = {}
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        velocity = search._weights_by.velocities[weight]
        stepped[name] = weight - RATE * (gradient + SECOND.weight_decay * weight + MOMENTUM * velocity)
    total = loss(search, stepped, validation)
    if penalty is not None:
        total = total + penalty([torch.softmax(item, 0) for item in search._logits])
    return torch.autograd.grad(total, search._logits)


def flat(gradients):
    return torch.cat([item.flatten() for item in gradients])


def penalty(shares):
    return 0.1 * sum(row[3] for row in shares)


@pytest.mark.parametrize("charge", [None, penalty])
def test_the_gradient_is_that_through_the_step(search, monkeypatch, charge):
    validation, training = batch(1), batch(2)
    exact = flat(unrolled(search, validation, training, charge))
    # A difference is the nearer to the derivative the smaller it is.
    for size, tolerance in ((1e-2, 2e-3), (1e-3, 2e-5)):
        monkeypatch.setattr(module_of_search, "_DIFFERENCE", size)
        _, found = search._unrolled(validation, training, RATE, charge)
        assert (flat(found) - exact).norm() < tolerance * exact.norm(), size


def test_what_the_step_adds_is_no_rounding(search):
    validation, training = batch(1), batch(2)
    _, found = search._unrolled(validation, training, RATE, None)
    _, still = search._unrolled(validation, training, 0.0, None)
    first = torch.autograd.grad(loss(search, dict(search.module.named_parameters()), validation), search._logits)
    assert torch.allclose(flat(still), flat(first)), "without a step ahead it is of first order"
    assert (flat(found) - flat(first)).norm() > 0.05 * flat(first).norm()


def test_the_loss_is_that_after_the_step(search):
    validation, training = batch(1), batch(2)
    ahead, _ = search._unrolled(validation, training, RATE, None)
    now, _ = search._unrolled(validation, training, 0.0, None)
    search.step_in_weights(training, RATE)
    weights = dict(search.module.named_parameters())
    after = loss(search, weights, validation).item()
    assert ahead.item() == pytest.approx(after, rel=1e-6) != pytest.approx(now.item(), rel=1e-6)


def test_a_step_in_the_shares_leaves_weights_and_their_optimiser(search):
    weights = [item.detach().clone() for item in search.module.parameters()]
    momenta = [search._weights_by.velocities[item].clone() for item in search.module.parameters()]
    logits = [item.detach().clone() for item in search._logits]
    search._shares_by = Adam(search._logits, 0.01)
    search.step_in_shares(batch(1), batch(2), RATE)
    assert all(torch.equal(one, other) for one, other in zip(weights, search.module.parameters(), strict=True))
    for weight, momentum in zip(search.module.parameters(), momenta, strict=True):
        assert torch.equal(search._weights_by.velocities[weight], momentum)
        assert weight.grad is None or torch.isfinite(weight.grad).all()
    assert any(not torch.equal(one, other) for one, other in zip(logits, search._logits, strict=True))


def test_weights_come_back_where_a_step_ahead_fails(search):
    weights = [item.detach().clone() for item in search.module.parameters()]

    def broken(shares):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search._unrolled(batch(1), batch(2), RATE, broken)
    assert all(torch.equal(one, other) for one, other in zip(weights, search.module.parameters(), strict=True))


@pytest.mark.parametrize("method", [DARTS, PC_DARTS, DCA_NAS, SECOND], ids=["darts", "pc_darts", "dca_nas", "second"])
@pytest.mark.parametrize(
    ("arithmetic", "tolerance"),
    [(Arithmetic(channels_last=True), 1e-3), (Arithmetic(mixed_precision=True), 0.05)],
    ids=["channels last", "mixed precision"],
)
def test_other_arithmetic_gives_nearly_the_same_losses(method, arithmetic, tolerance):
    data = [batch(seed, torch.float32) for seed in range(6)]
    losses = []
    for chosen in (Arithmetic(), arithmetic):
        search = SupernetSearch(SPACE, method, 0, chosen)
        steps = [
            search.step(training, validation, 0.01) for training, validation in zip(data[:3], data[3:], strict=True)
        ]
        losses.append([value for step in steps for value in (step.training, step.validation)])
    usual, other = losses
    assert other == pytest.approx(usual, rel=tolerance)
    assert (other != usual) or arithmetic.channels_last, "mixed precision rounds"


def test_channels_last_lays_weights_out_so():
    kernels = [
        item for item in SupernetSearch(SPACE, DARTS, 0, Arithmetic(channels_last=True)).module.parameters()
        if item.ndim == 4 and item.shape[1] > 1 and item.shape[2] > 1
    ]  # fmt: skip
    assert kernels and all(item.is_contiguous(memory_format=torch.channels_last) for item in kernels)
    assert not any(item.is_contiguous() for item in kernels)
