"""Supernets of sub-spaces: what they are made of, what they compute, what learns in them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilnas.errors import UsageError
from search_spaces._chain import merge
from search_spaces._graph import Call
from search_spaces._quantiser_torch import fake_quantise
from search_spaces._supergraph import Mixture
from search_spaces._supernet_torch import SupernetModule
from search_spaces._torch import to_module
from search_spaces._weights import make_weights
from search_spaces.mobilenet import Mobilenet
from search_spaces.quantised_cnn import QuantisedCnn

pytestmark = pytest.mark.usefixtures("one_thread")

SPACES = {
    "quantised_cnn": QuantisedCnn(width=4, resolution=16, classes=3),
    "pooled": QuantisedCnn(width=4, resolution=16, classes=3, pool=1),
    "bare": QuantisedCnn(width=4, resolution=16, classes=3, normalise=0),
    "filters": QuantisedCnn(width=16, resolution=16, classes=3, filters=1),
    "mobilenet": Mobilenet(width=25, resolution=16, classes=3),
}


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


def sub_space(space, n=3, how="tuple", seed=0):
    rng = np.random.default_rng(seed)
    return merge(space, [space.sample(rng) for _ in range(n)], how)


def some_network(space, sub, rng):
    return space.of_layers(layer[int(rng.integers(len(layer)))] for layer in sub.layers)


def random_shares(graph, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.softmax(torch.randn(n, generator=generator), 0).requires_grad_() for n in graph.rows]


def hard_shares(graph, chosen):
    kept = frozenset().union(*chosen.values())
    return [torch.tensor([float((row, i) in kept) for i in range(n)]) for row, n in enumerate(graph.rows)]


def pictures(space, n=6):
    return torch.randn(n, *space.input_shape[1:], generator=torch.Generator().manual_seed(1))


def settled(module, space):
    """Return a supernet whose normalisations know what they read; new ones let deep networks fade when they judge."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        module.train()(pictures(space), random_shares(module.graph, seed=4))
    return module


def own_weights(space, sub, architecture, module):
    """Return the weights of the blocks that a network keeps, by the names they have in the network."""
    chosen = space.chosen(sub, architecture)
    found = {}
    for step in module.graph.needed(chosen):
        if isinstance(step, Call):
            name, _, choice = step.name.rpartition("o")
            name = name if choice.isdigit() else step.name
            for parameter, tensor in module.calls[step.name].layers.state_dict().items():
                found[f"{name}.{parameter}"] = tensor.numpy()
    for name in [name for name in found if name.endswith("running_mean")]:
        part = name.removesuffix("running_mean")
        found[f"{part}weight"], found[f"{part}bias"] = np.ones_like(found[name]), np.zeros_like(found[name])
    return found


def test_the_supernets_of_whole_spaces():
    quantised, mobile = QuantisedCnn(), Mobilenet()
    graph = quantised.chain_supergraph(quantised.whole())
    assert graph.rows == (144,) * 6 and len(graph.calls) == 1 + 6 * 144 * 2 + 1
    graph = mobile.chain_supergraph(mobile.whole())
    assert graph.rows == (6,) * 21 and len(graph.calls) == 2 + 21 * 6 + 1


@pytest.mark.parametrize("how", ["tuple", "factor"])
def test_a_supernet_is_well_formed(space, how):
    sub = sub_space(space, how=how)
    graph = space.chain_supergraph(sub)
    known = {"input": graph.input}
    for step in graph.steps:
        assert step.name not in known and "." not in step.name
        if isinstance(step, Call):
            assert tuple(known[name] for name in step.inputs) == step.block.inputs
            known[step.name] = step.block.output
        else:
            shapes = {known[term.source].shape for term in step.terms}
            assert max(shape[1] for shape in shapes) == step.spec.shape[1]
            assert {(shape[0], *shape[2:]) for shape in shapes} == {(step.spec.shape[0], *step.spec.shape[2:])}
            assert step.spec.bits == 32 and (space is SPACES["filters"] or len(shapes) == 1)
            known[step.name] = step.spec
    mixtures = [step for step in graph.steps if isinstance(step, Mixture)]
    assert [step.cell for step in mixtures] == list(range(len(sub.layers)))
    assert len(set(graph.kinds)) == len(graph.kinds) == len(sub.layers)
    terms = [term for step in mixtures for term in step.terms]
    assert [term.shares for term in terms] == [((row, i),) for row, n in enumerate(graph.rows) for i in range(n)]
    assert len({term.source for term in terms}) == len(terms) == sub.candidates


def test_a_candidate_is_made_of_the_blocks_of_its_networks(space):
    """They differ in the bits alone that are read: a mixture is no fixed-point number."""
    sub = sub_space(space)
    graph, rng = space.chain_supergraph(sub), np.random.default_rng(2)
    for _ in range(5):
        architecture = some_network(space, sub, rng)
        ours = [step for step in graph.needed(space.chosen(sub, architecture)) if isinstance(step, Call)]
        theirs = space.graph(architecture).calls
        assert [step.block.kind for step in ours] == [call.block.kind for call in theirs]
        for step, call in zip(ours, theirs, strict=True):
            assert step.block.output == call.block.output
            for one, other in zip(step.block.operators, call.block.operators, strict=True):
                assert (one.name, one.kind, one.kernel, one.form) == (other.name, other.kind, other.kernel, other.form)


def cut(weights, graph):
    """Return the part of weights for the channels that a network has: behind them a supernet reads zeros."""
    shapes = {name: own.shape for name, own in make_weights(graph, 0).items()}
    return {name: weights[name][tuple(map(slice, shape))] for name, shape in shapes.items()}


def same(space, found, expected):
    """Return whether outputs are equal, bit for bit unless one of them sums zeros as well."""
    if space is SPACES["filters"]:
        return torch.allclose(found, expected, atol=1e-5)
    return torch.equal(found, expected)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32))
def test_a_chosen_path_computes_what_its_network_does(name, seed):
    """Bit for bit, with the same weights and in training, where normalisation is the same in both."""
    space, rng = SPACES[name], np.random.default_rng(seed)
    sub = sub_space(space, seed=seed)
    module = SupernetModule(space.chain_supergraph(sub), seed % 7).train()
    architecture = some_network(space, sub, rng)
    graph = space.graph(architecture)
    network = to_module(graph, cut(own_weights(space, sub, architecture, module), graph)).train()
    x = pictures(space)
    found = module(x, random_shares(module.graph), space.chosen(sub, architecture))
    assert same(space, found, network(x))
    assert found.std() > 0


def weights_in_common(space, architecture, module):
    """Return the part of the common weights that each convolution of a network computes with, by its name there."""
    found, common = {}, iter(module.common)
    layers = {call.name: call.block for call in space.graph(architecture).calls}
    for names in module.graph.twins:
        place = names[0].rpartition("o")[0]
        for operator in layers[place].operators:
            if operator.kind != "conv2d":
                continue
            whole = next(common)
            outputs, inputs = operator.output_spec.shape[1], operator.input_spec.shape[1] // operator.groups
            margin = (whole.weight.shape[-1] - operator.kernel) // 2
            middle = slice(margin, margin + operator.kernel)
            weight = whole.weight[:outputs, :inputs, middle, middle]
            assert weight.shape[2:] == (operator.kernel,) * 2
            found[f"{place}.{operator.name}.weight"] = weight.detach().numpy()
            if operator.bias:
                found[f"{place}.{operator.name}.bias"] = whole.bias[:outputs].detach().numpy()
    return found


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32))
def test_candidates_with_weights_in_common_compute_with_the_middle_and_the_first_channels(name, seed):
    space, rng = SPACES[name], np.random.default_rng(seed)
    sub = sub_space(space, n=6, seed=seed)
    module = SupernetModule(space.chain_supergraph(sub, common=True), seed % 7).train()
    architecture = some_network(space, sub, rng)
    graph = space.graph(architecture)
    weights = {**own_weights(space, sub, architecture, module), **weights_in_common(space, architecture, module)}
    found = module(pictures(space), (), space.chosen(sub, architecture))
    assert same(space, found, to_module(graph, cut(weights, graph)).train()(pictures(space)))
    assert found.std() > 0


def test_weights_in_common_are_as_many_as_the_largest_candidates_have(space):
    sub = sub_space(space, n=6)
    own, common = (SupernetModule(space.chain_supergraph(sub, shared)) for shared in (False, True))
    assert not list(own.common)
    assert sum(item.numel() for item in common.parameters()) < 0.6 * sum(item.numel() for item in own.parameters())
    one = merge(space, [space.sample(np.random.default_rng(0))], "tuple")
    alone, borrowed = (SupernetModule(space.chain_supergraph(one, shared)) for shared in (False, True))
    assert sum(item.numel() for item in borrowed.parameters()) == sum(item.numel() for item in alone.parameters())


def test_weights_in_common_begin_wide_enough_for_the_coarsest_format():
    space = QuantisedCnn(resolution=8)
    sub = merge(space, [space.parse("+".join([layer] * 6)) for layer in ("k7a1.1w1.6", "k1a1.1w1.1")], "tuple")
    for whole in list(SupernetModule(space.chain_supergraph(sub, common=True)).common)[1:]:
        assert whole.weight.std().item() == pytest.approx(0.25, rel=0.1) and not whole.bias.any()


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32), st.booleans())
def test_hard_shares_compute_what_the_chosen_path_does(name, seed, training):
    space = SPACES[name]
    sub = sub_space(space, how="tuple", seed=seed)
    graph = space.chain_supergraph(sub)
    module, x = settled(SupernetModule(graph, seed % 5), space).train(training), pictures(space)
    chosen = space.chosen(sub, some_network(space, sub, np.random.default_rng(seed)))
    found = module(x, random_shares(graph), chosen)
    assert torch.equal(module(x, hard_shares(graph, chosen)), found)
    assert found.std(0).min() > 0


def test_some_layers_may_be_chosen_and_others_mixed(space):
    sub = sub_space(space)
    graph = space.chain_supergraph(sub)
    module, x, shares = settled(SupernetModule(graph), space).eval(), pictures(space), random_shares(graph)
    chosen = dict(space.chosen(sub, some_network(space, sub, np.random.default_rng(0))))
    some = module(x, shares, {2: chosen[2]})
    assert not torch.allclose(some, module(x, shares))
    assert not torch.allclose(some, module(x, shares, chosen))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32), st.sampled_from(["tuple", "factor"]))
def test_what_is_chosen_is_derived(name, seed, how):
    space, rng = SPACES[name], np.random.default_rng(seed)
    sub = sub_space(space, how=how, seed=seed)
    architecture = some_network(space, sub, rng)
    chosen = space.chosen(sub, architecture)
    rows = hard_shares(space.chain_supergraph(sub), chosen)
    assert space.derive(sub, [row.numpy() for row in rows]) == architecture
    softer = [rng.dirichlet(np.ones(len(row))) + row.numpy() for row in rows]
    assert space.derive(sub, [row / row.sum() for row in softer]) == architecture
    assert list(chosen) == list(range(len(sub.layers))) and all(len(shares) == 1 for shares in chosen.values())


def test_what_is_outside_is_not_chosen(space):
    sub = sub_space(space, n=1)
    rng = np.random.default_rng(9)
    outside = next(item for item in iter(lambda: space.sample(rng), None) if not sub.contains(item))
    with pytest.raises(UsageError, match="not in the sub-space"):
        space.chosen(sub, outside)


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("how", ["tuple", "factor"])
def test_every_weight_and_share_gets_a_gradient(space, how, common):
    """Through all roundings: also in formats in which usual first weights would all be 0."""
    graph = space.chain_supergraph(sub_space(space, how=how), common)
    module, shares = SupernetModule(graph), random_shares(graph)
    output = module(pictures(space), shares)
    assert output.shape == (6, 3) and torch.isfinite(output).all()
    loss = torch.nn.functional.cross_entropy(output, torch.arange(6) % 3)
    names = [name for name, _ in module.named_parameters()] + [f"row {i}" for i in range(len(shares))]
    gradients = torch.autograd.grad(loss, [*module.parameters(), *shares], allow_unused=True)
    lacking = [name for name, item in zip(names, gradients, strict=True) if item is None or not item.abs().sum() > 0]
    assert not lacking


def test_the_coarsest_networks_are_alive():
    space = SPACES["quantised_cnn"]
    sub = merge(space, [space.parse("+".join([f"k{kernel}a1.1w1.1"] * 6)) for kernel in (1, 7)], "tuple")
    module = SupernetModule(space.chain_supergraph(sub)).train()
    for kernel in (1, 7):
        chosen = space.chosen(sub, space.parse("+".join([f"k{kernel}a1.1w1.1"] * 6)))
        output = module(pictures(space), random_shares(module.graph), chosen)
        assert output.std(0).min() > 0


def test_first_weights_are_not_all_rounded_to_zero():
    """As in seeded networks: at least half a step wide, and no biases."""
    space = QuantisedCnn(resolution=8)
    sub = merge(space, [space.parse("+".join([layer] * 6)) for layer in ("k7a1.1w1.1", "k1a1.1w1.6")], "tuple")
    calls = SupernetModule(space.chain_supergraph(sub)).calls
    for name in ("conv6o0", "conv6o1"):
        conv = calls[name].layers["conv"]
        assert conv.weight.std().item() == pytest.approx({"conv6o0": 0.25, "conv6o1": (2 / 256) ** 0.5}[name], rel=0.05)
        assert not conv.bias.any()
        assert fake_quantise(conv.weight, conv.form).ne(0).float().mean() > 0.1


def test_a_supernet_learns():
    """Two kinds of pictures, told apart by weights and shares together."""
    space = SPACES["quantised_cnn"]
    graph = space.chain_supergraph(sub_space(space))
    module = SupernetModule(graph)
    logits = [torch.zeros(n, requires_grad=True) for n in graph.rows]
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(32) % 2
    x = torch.randn(32, *space.input_shape[1:], generator=generator) * (0.3 + labels[:, None, None, None])
    optimizer = torch.optim.Adam([*module.parameters(), *logits], lr=0.01)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(x, [torch.softmax(row, 0) for row in logits]), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_same_seed_gives_the_same_weights_and_torchs_generator_is_left_alone(space):
    graph = space.chain_supergraph(sub_space(space, n=2))
    before = torch.random.get_rng_state()
    first, again, other = (SupernetModule(graph, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
