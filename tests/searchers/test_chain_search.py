"""Differentiable search in sub-spaces of chains: what enters the loss of the shares, and three ways to relax them."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.nn import functional

from hilnas.errors import BadFile, UsageError
from search_spaces._chain import merge
from search_spaces._costs import block_costs
from search_spaces._sub_space import SubSpace
from search_spaces.quantised_cnn import QuantisedCnn
from searchers._chain_search import RELAXATIONS, ChainExpectation, ChainSearch, CostTerm
from searchers._expected_cost import RelaxedCost
from searchers._supernet_training import Schedule, epochs
from searchers.image_data import load_dataset

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = QuantisedCnn(width=4, resolution=8)
SUB = merge(SPACE, [SPACE.sample(np.random.default_rng(i)) for i in range(3)], "tuple")
MACS = ChainExpectation(SPACE.chain_cost(SUB, lambda block: float(block_costs(block).macs)))
SCHEDULE = Schedule(epochs=2, batch=16, augment="none", seed=1, checkpoint_steps=2)


class Fixed(RelaxedCost):
    """The same expectation, whatever the shares."""

    def __init__(self, value):
        self._value = value

    def of(self, shares):
        return torch.tensor(self._value, dtype=torch.float64)


@pytest.fixture(scope="module")
def digits():
    return load_dataset(None, 0, 130, (8, 8))


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 3, 8, 8, generator=generator), torch.arange(16) % 10


@pytest.fixture(params=RELAXATIONS)
def relax(request):
    return request.param


def search_of(relax="softmax", term=None, sub=SUB, **options):
    return ChainSearch(SPACE, sub, term, relax=relax, **options)


def macs_of(architecture):
    places = SPACE.chosen(SUB, architecture)
    rows = zip(SUB.layers, (places[layer] for layer in sorted(places)), strict=True)
    return float(MACS.of([torch.eye(len(row))[choice] for row, ((_, choice),) in rows]))


def ran(search):
    """Return a list that every candidate's convolution appends its name to when it runs."""
    found = []
    for name, module in search.module.calls.items():
        if name.startswith("conv"):
            module.register_forward_hook(lambda *_a, name=name: found.append(name))
    return found


def test_an_expectation_is_the_mean_over_networks_and_can_be_differentiated():
    sub = SubSpace(tuple(layer[:2] for layer in SUB.layers))
    cost = SPACE.chain_cost(sub, lambda block: float(block_costs(block).macs))
    logits = [torch.randn(len(row), dtype=torch.float64).requires_grad_() for row in sub.layers]
    shares = [torch.softmax(item, 0) for item in logits]
    found = ChainExpectation(cost).of(shares)
    mean = sum(
        math.prod(float(shares[row][choice].detach()) for row, choice in enumerate(choices))
        * cost.of([np.eye(len(row))[choice] for row, choice in zip(sub.layers, choices, strict=True)])
        for choices in itertools.product(*(range(len(row)) for row in sub.layers))
    )
    assert found.dtype == torch.float64 and found.item() == pytest.approx(mean, rel=1e-12)
    assert torch.autograd.gradcheck(
        lambda *items: ChainExpectation(cost).of([torch.softmax(item, 0) for item in items]) / mean, logits
    )


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        # The authors' loss: cross-entropy x 0.1 ln(AOPS).
        (CostTerm(Fixed(2.5e9), 1e9, "product"), 2.0 * 0.1 * math.log(2.5e9)),
        (CostTerm(Fixed(2.5e9), 1e9, "product", exponent=0.5), 2.0 * (0.1 * math.log(2.5e9)) ** 0.5),
        (CostTerm(Fixed(3.0), 12.0, "product"), 2.0 * 0.1 * math.log(1e9 / 4)),
        (CostTerm(Fixed(0.0), 1e9, "product"), 2.0 * 0.1),  # no logarithm of nothing
        (CostTerm(Fixed(2.5e9), 1e9), 0.5 * 2.0 + 0.5 * 2.5),
        (CostTerm(Fixed(2.5e9), 1e9, "sum", 0.9), 0.9 * 2.0 + 0.1 * 2.5),
        (CostTerm(Fixed(2.5e9), 1e9, "sum", 0.9, 2e9), 0.9 * 2.0 + 0.1 * 0.5),
        (CostTerm(Fixed(2.5e9), 1e9, "sum", 0.9, 3e9), 0.9 * 2.0),  # within its limit
    ],
)
def test_the_cost_in_the_loss_by_hand(term, expected):
    assert float(term.of(torch.tensor(2.0, dtype=torch.float64), [])) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["sum", "product"])
def test_a_cost_draws_the_shares_towards_what_is_cheap(relax, kind, batch):
    """With the sum nothing but the cost counts; the product still has the cross-entropy as its factor."""
    usual = MACS.cost.of([np.full(len(row), 1 / len(row)) for row in SUB.layers])
    term = CostTerm(MACS, usual, kind, 0.0, exponent=20.0)
    search = search_of(relax, term, share_rate=0.2)
    before = float(MACS.of(list(map(torch.from_numpy, search.shares))))
    for _ in range(25):
        search.step_in_shares(batch, batch, 0.0)
    least = MACS.cost.of([np.eye(len(row))[int(np.argmin(row))] for row in MACS.cost.rows])
    after = float(MACS.of(list(map(torch.from_numpy, search.shares))))
    assert least < after < before - (0.7 if kind == "sum" else 0.2) * (before - least)


def test_a_cost_within_its_limit_does_not_move_the_shares(batch):
    search = search_of("softmax", CostTerm(MACS, 1.0, "sum", 0.0, beta=1e12))
    before = search.shares
    search.step_in_shares(batch, batch, 0.0)
    assert all(np.array_equal(one, other) for one, other in zip(before, search.shares, strict=True))


def test_a_penalty_counts_beside_in_every_mode(relax, batch):
    search = search_of(relax, CostTerm(MACS, 1e12, "sum", 0.0), share_rate=0.2)
    for _ in range(10):
        search.step_in_shares(batch, batch, 0.0, lambda shares: sum(row[0] for row in shares))
    assert all(row[0] < 1 / len(row) for row in search.shares if len(row) > 1)


def test_along_a_path_one_candidate_a_layer_runs_and_else_all_of_them(relax, batch):
    search = search_of(relax)
    found = ran(search)
    search.step_in_weights(batch, 0.01)
    in_weights = len(found)
    search.step_in_shares(batch, batch, 0.01)
    each = 6 if relax == "path" else SUB.candidates
    assert (in_weights, len(found)) == (each, 2 * each)
    assert relax != "path" or [name.rpartition("o")[0] for name in found[:6]] == [f"conv{i}" for i in range(1, 7)]


def test_paths_of_weights_are_drawn_evenly_and_those_of_shares_by_the_shares(batch, monkeypatch):
    search = search_of("path", share_rate=1e-9)
    with torch.no_grad():
        for item in search._logits:
            item.copy_(torch.linspace(0.0, 2.0, len(item)))
    drawn = []
    monkeypatch.setattr(type(search), "_loss", lambda self, batch, shares: drawn.append(self._chosen()) or _leaf(self))
    for step, expected in (
        (lambda: search.step_in_weights(batch, 0.0), [np.full(len(row), 1 / len(row)) for row in search.shares]),
        (lambda: search.step_in_shares(batch, batch, 0.0), search.shares),
    ):
        drawn.clear()
        for _ in range(600):
            step()
        for row, shares in enumerate(expected):
            choices = [next(iter(chosen[row]))[1] for chosen in drawn]
            counts = np.bincount(choices, minlength=len(shares))
            assert len(shares) == 1 or chisquare(counts, 600 * shares).pvalue > 1e-4


def _leaf(search):
    return sum(item.sum() for item in search.module.parameters()) * 0.0


def test_the_gradient_along_paths_is_that_of_the_expected_loss_on_the_average(batch, monkeypatch):
    """Exactly enumerated over all paths of two layers with two candidates; the baseline biases nothing."""
    layers = tuple(layer[:2] if i in (1, 4) else layer[:1] for i, layer in enumerate(SUB.layers))
    sub = SubSpace(layers)
    cost = ChainExpectation(SPACE.chain_cost(sub, lambda block: float(block_costs(block).macs)))
    term = CostTerm(cost, cost.cost.of([np.full(len(row), 1 / len(row)) for row in layers]), "product")
    search = search_of("path", term, sub)
    for _ in range(20):
        search.step_in_weights(batch, 0.1)
    with torch.no_grad():
        search._logits[1].copy_(torch.tensor([0.3, -0.5]))
        search._logits[4].copy_(torch.tensor([-0.4, 0.2]))
    losses = {}
    for choices in itertools.product(range(2), range(2)):
        path = dict.fromkeys(range(6), 0) | {1: choices[0], 4: choices[1]}
        chosen = {row: frozenset({(row, choice)}) for row, choice in path.items()}
        with torch.no_grad():
            losses[choices] = functional.cross_entropy(search.module(batch[0], search._shares(), chosen), batch[1])
    assert np.ptp([float(loss) for loss in losses.values()]) > 0.05, "paths differ"
    shares = [torch.softmax(item, 0) for item in search._logits]
    expected = sum(shares[1][i] * shares[4][j] * term.of(loss, shares) for (i, j), loss in losses.items())
    exact = torch.cat(torch.autograd.grad(expected, [search._logits[1], search._logits[4]]))
    found = []
    monkeypatch.setattr(
        search._shares_by, "step", lambda own: found.append(torch.cat([own[row] for row in (1, 4)]).clone())
    )
    for _ in range(500):
        search._baseline = 0.99 * float(expected.detach())  # not the mean: it must not matter
        search.step_in_shares(batch, batch, 0.0)
    drawn = torch.stack(found).double()
    error = drawn.std(0) / len(drawn) ** 0.5
    assert exact.abs().max() > 5 * error.max()
    assert ((drawn.mean(0) - exact).abs() < 4 * error).all()


def test_the_baseline_of_paths_is_a_running_mean_of_what_is_minimised(batch, monkeypatch):
    search = search_of("path")
    values = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(search, "_loss", lambda batch, shares: torch.tensor(next(values)))
    found = []
    for _ in range(3):
        search.step_in_shares(batch, batch, 0.0)
        found.append(search._baseline)
    assert found == pytest.approx([3.0, 2.8, 2.72])


def test_the_temperature_of_gumbel_noise_falls_by_an_epoch(batch, monkeypatch):
    search = search_of("gumbel", steps=4, share_rate=1e-12)
    monkeypatch.setattr(search, "_noise", torch.zeros_like)
    with torch.no_grad():
        for item in search._logits:
            item.copy_(torch.arange(len(item), dtype=torch.float32))
    for temperature in (5.0, 5.0 * 0.956, 5.0 * 0.956**2):
        for own, logits in zip(search._mixed(), search._logits, strict=True):
            assert torch.allclose(own, torch.softmax(logits / temperature, 0), atol=1e-5)
        for _ in range(4):
            search.step_in_weights(batch, 0.0)
            search.step_in_shares(batch, batch, 0.0)


def test_gumbel_noise_makes_a_choice_the_strongest_as_often_as_its_share():
    search = search_of("gumbel")
    logits = torch.tensor([1.0, 0.0, -0.5])
    picked = [int((logits + search._noise(logits)).argmax()) for _ in range(3000)]
    expected = torch.softmax(logits.double(), 0).numpy()
    assert chisquare(np.bincount(picked, minlength=3), 3000 * expected).pvalue > 1e-4


def test_softmax_mixes_with_the_shares_themselves():
    search = search_of("softmax")
    assert all(
        np.array_equal(one.detach().double().numpy(), other)
        for one, other in zip(search._mixed(), search.shares, strict=True)
    )


def test_the_strongest_candidates_are_derived():
    search = search_of()
    with torch.no_grad():
        for item in search._logits:
            item.zero_()[-1] = 1.0
    assert search.derive() == SPACE.of_layers(layer[-1] for layer in SUB.layers)
    assert search.parse(search.derive().text) == search.derive()


@pytest.mark.parametrize("stopped_at", [3, 9])
def test_a_search_that_was_stopped_ends_as_if_it_had_not_been(relax, digits, tmp_path, stopped_at):
    term = CostTerm(MACS, 1e5)
    whole = search_of(relax, term, steps=6, seed=2)
    expected = list(epochs(whole, digits, SCHEDULE))

    def stop(done, of):
        if done == stopped_at:
            raise KeyboardInterrupt

    path = tmp_path / "search.pt"
    with pytest.raises(KeyboardInterrupt):
        list(epochs(search_of(relax, term, steps=6, seed=2), digits, SCHEDULE, None, path, stop))
    resumed = search_of(relax, term, steps=6, seed=5)  # the checkpoint says everything
    found = list(epochs(resumed, digits, SCHEDULE, None, path))
    assert [replace(item, elapsed_s=0.0) for item in found] == [replace(item, elapsed_s=0.0) for item in expected]
    ours, theirs = resumed.module.state_dict(), whole.module.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_search_learns(relax, digits):
    fine = merge(SPACE, [SPACE.parse("+".join([f"k{kernel}a3.6w1.6"] * 6)) for kernel in (3, 5)], "tuple")
    found = list(epochs(search_of(relax, sub=fine, steps=6), digits, replace(SCHEDULE, epochs=25, rate=0.1)))
    assert found[-1].training_loss < 0.93 * found[0].training_loss


def test_the_checkpoint_of_another_sub_space_is_refused(digits, tmp_path):
    path = tmp_path / "search.pt"
    list(epochs(search_of(), digits, replace(SCHEDULE, epochs=1), None, path))
    other = merge(SPACE, [SPACE.sample(np.random.default_rng(9))], "tuple")
    with pytest.raises(BadFile):
        list(epochs(search_of(sub=other), digits, replace(SCHEDULE, epochs=1), None, path))


def test_other_relaxations_are_refused():
    with pytest.raises(UsageError, match="softmax, gumbel, path"):
        search_of("sparse")


@pytest.mark.parametrize("common", [False, True])
def test_no_single_change_of_what_is_improved_earns_more(batch, common):
    search = search_of("softmax", CostTerm(MACS, 4e5), common=common)
    for _ in range(5):
        search.step(batch, batch, 0.05)

    def reward(architecture):
        return search._reward(search._places(architecture), batch, 8)

    derived, found = search.derive(), search.improved(batch, 8, sweeps=9)
    assert search.improved(batch, 8, sweeps=0) == derived
    assert SUB.contains(found) and reward(found) > reward(derived)
    places = search._places(found)
    for layer, candidates in enumerate(SUB.layers):
        for i in range(len(candidates)):
            changed = (*places[:layer], i, *places[layer + 1 :])
            other = SPACE.of_layers(own[j] for own, j in zip(SUB.layers, changed, strict=True))
            assert reward(other) <= reward(found)


def test_networks_are_judged_as_they_run_and_by_what_they_cost(batch):
    """By hand: pictures that are normalised eight at a time, and equation 2."""
    images, labels = batch
    network = SPACE.of_layers(candidates[-1] for candidates in SUB.layers)
    search = search_of("path", CostTerm(MACS, 4e5, alpha=0.7))
    for _ in range(5):
        search.step(batch, batch, 0.05)
    with torch.no_grad():
        parts = [search.module(part, (), SPACE.chosen(SUB, network)) for part in torch.split(images, 8)]
    right = float((torch.cat(parts).argmax(1) == labels).float().mean())
    hard = [torch.eye(len(row))[-1] for row in SUB.layers]
    expected = 0.7 * right + 0.3 * (1 - float(MACS.of(hard)) / 4e5)
    assert search._reward(search._places(network), batch, 8) == pytest.approx(expected, rel=1e-6)
    assert search_of("path", None)._reward(search._places(network), batch, 8) <= 1


def test_where_only_the_cost_counts_what_is_improved_is_the_cheapest(batch):
    search = search_of("softmax", CostTerm(MACS, 4e5, alpha=0.0))
    found = search.improved(batch, 8, sweeps=9)
    networks = map(SPACE.of_layers, itertools.product(*SUB.layers))
    assert macs_of(found) == min(map(macs_of, networks))
