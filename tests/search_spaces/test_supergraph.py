"""Supernets: mixed, derived, shared, narrowed; they are made of the blocks of the networks they stand for."""

import re
from collections import Counter

import numpy as np
import pytest
import torch

from hilnas.errors import UsageError
from search_spaces._costs import block_costs, static_costs
from search_spaces._supergraph import Supernet
from search_spaces._supernet_torch import SupernetModule
from search_spaces.darts import OPERATIONS, Darts
from search_spaces.nasbench201 import NasBench201

pytestmark = pytest.mark.usefixtures("one_thread")

SPACES = {
    "darts": Darts(width=8, cells=3, resolution=8),
    "nasbench201": NasBench201(width=8, depth=1, resolution=8),
}
STYLES = {
    "plain": Supernet(),
    "shared": Supernet(shared=True),
    "narrow": Supernet(bottleneck=4),
    "dca": Supernet(shared=True, bottleneck=4),
    "partial": Supernet(partial=4),
}


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


@pytest.fixture(params=STYLES)
def style(request):
    return STYLES[request.param]


def random_shares(graph, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.softmax(torch.randn(n, generator=generator), 0).requires_grad_() for n in graph.rows]


def hard_shares(graph, chosen):
    return [torch.tensor([float((row, i) in chosen) for i in range(n)]) for row, n in enumerate(graph.rows)]


def picture(space):
    return torch.randn(2, *space.input_shape[1:], generator=torch.Generator().manual_seed(1))


def test_every_weight_and_share_gets_a_gradient(space, style):
    graph = space.supergraph(style)
    module, shares = SupernetModule(graph), random_shares(graph)
    output = module(picture(space), shares)
    assert output.shape == (2, 10) and torch.isfinite(output).all()
    gradients = torch.autograd.grad(output.square().sum(), [*module.parameters(), *shares], allow_unused=True)
    reached = [item is not None and bool(item.abs().sum() > 0) for item in gradients]
    # A share alone in its row (the only edge into a node) mixes nothing, but it is multiplied with.
    assert all(reached), f"{reached.count(False)} of {len(reached)} have none"


def test_a_derived_cell_computes_what_hard_shares_compute(space, style):
    graph = space.supergraph(style)
    module, x = SupernetModule(graph).eval(), picture(space)
    for seed in range(4):
        kept = space.chosen(space.sample(np.random.default_rng(seed)))
        derived = module(x, random_shares(graph), dict.fromkeys(range(len(graph.kinds)), kept))
        torch.testing.assert_close(derived, module(x, hard_shares(graph, kept)), rtol=1e-4, atol=1e-5)


def test_one_relu_for_all_that_read_a_tensor_changes_nothing_but_the_memory(space, style):
    graph = space.supergraph(style)
    several, one = SupernetModule(graph, 3), SupernetModule(graph, 3, shared=True)
    x, shares = picture(space), random_shares(graph)
    saved = []
    outputs = []
    for module in (several, one):
        held = {}

        def keep(tensor, held=held):
            held[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs.append(module(x, shares))
        saved.append(sum(item.untyped_storage().nbytes() for item in held.values()))
    torch.testing.assert_close(outputs[0], outputs[1])
    assert saved[1] < saved[0]


def test_some_cells_may_be_derived_and_others_mixed(space, style):
    graph = space.supergraph(style)
    module, x, shares = SupernetModule(graph).eval(), picture(space), random_shares(graph)
    kept = space.chosen(space.sample(np.random.default_rng(0)))
    some = module(x, shares, {1: kept})
    assert not torch.allclose(some, module(x, shares))
    assert not torch.allclose(some, module(x, shares, dict.fromkeys(range(len(graph.kinds)), kept)))


def test_what_is_derived_is_made_of_the_networks_own_blocks(space):
    graph = space.supergraph(Supernet())
    rng = np.random.default_rng(3)
    for _ in range(5):
        architecture = space.sample(rng)
        kept = dict.fromkeys(range(len(graph.kinds)), space.chosen(architecture))
        ours = Counter(step.block for step in graph.needed(kept) if hasattr(step, "block"))
        theirs = Counter(call.block for call in space.graph(architecture).without_dead().calls)
        macs = [sum(n * block_costs(block).macs for block, n in found.items()) for found in (ours, theirs)]
        assert macs[0] == macs[1] > 0


def test_what_hard_shares_choose_is_derived(space, style):
    graph = space.supergraph(style)
    for seed in range(10):
        architecture = space.sample(np.random.default_rng(seed))
        assert space.derive([row.numpy() for row in hard_shares(graph, space.chosen(architecture))]) == architecture


def test_sharing_runs_an_operation_once_for_each_tensor():
    # One normal and two reduction cells of 14 edges from 5 tensors; a skip is a call where it halves the resolution.
    plain, shared = (
        sum(re.search(r"o\d+$", call.name) is not None for call in SPACES["darts"].supergraph(STYLES[name]).calls)
        for name in ("plain", "shared")
    )
    assert plain == 3 * 14 * len(OPERATIONS) - (14 + 2 * 6)
    assert shared == 3 * 5 * len(OPERATIONS) - (5 + 2 * 3)


def test_a_bottleneck_and_partial_channels_make_operations_narrow():
    for space in SPACES.values():
        plain, narrow, partial = (
            sum(block_costs(call.block).macs for call in space.supergraph(STYLES[name]).calls)
            for name in ("plain", "narrow", "partial")
        )
        assert narrow < plain / 2 and partial < plain / 2


def test_the_same_seed_gives_the_same_weights_and_torchs_generator_is_left_alone():
    graph = SPACES["nasbench201"].supergraph(Supernet())
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second, other = (SupernetModule(graph, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("options", [{"bottleneck": 0}, {"partial": 0}, {"bottleneck": 4, "partial": 4}])
def test_styles_without_sense_are_refused(options):
    with pytest.raises(UsageError, match="supernet"):
        Supernet(**options)


def test_a_width_that_cannot_be_divided_is_refused(space):
    with pytest.raises(UsageError, match="cannot be divided"):
        space.supergraph(Supernet(bottleneck=16))


@pytest.mark.parametrize("metric", ["macs", "params"])
def test_the_expected_cost_of_hard_shares_is_the_networks_own(space, metric):
    fixed, rows = space.row_costs(lambda block: float(getattr(block_costs(block), metric)))
    for seed in range(5):
        architecture = space.sample(np.random.default_rng(seed))
        chosen = space.chosen(architecture)
        expected = fixed + sum(
            row[i] for number, row in enumerate(rows) for i in range(len(row)) if (number, i) in chosen
        )
        assert expected == getattr(static_costs(space.graph(architecture)), metric)
