"""Graphs of modules: counts as fvcore has them, shapes as the module gives them, and nothing left behind."""

from functools import partial

import pytest
import torch
from fvcore.nn import FlopCountAnalysis, parameter_count
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from search_spaces._costs import static_costs
from search_spaces._features import FEATURES, physical_features
from search_spaces._trace import _quiet, _traced, fingerprint, trace
from search_spaces._user_modules import seeded, settle

#: What fvcore counts as multiply-adds of convolutions and products.
PRODUCTS = ("conv", "linear", "matmul", "addmm", "mm", "bmm", "einsum")


class Lambda(nn.Module):
    """Some layers, and a function of them and the input."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.function(self, x)


def added_in_place(m, x):
    y = m.norm(m.conv(x))
    y += x
    return functional.relu_(y)


def gated(m, x):
    return x * torch.sigmoid(m.up(functional.relu(m.down(x.mean((2, 3), keepdim=True)))))


def shuffled(m, x):
    a, b = x.chunk(2, dim=1)
    y = torch.cat([a, m.conv(b)], dim=1)
    n, c, h, w = y.shape
    return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def written_into_a_part(m, x):
    y = torch.zeros(x.shape[0], 8, x.shape[2], x.shape[3])
    y[:, 2:6] = m.conv(x)
    return m.head(y.flatten(1))


def standardised(m, x):
    weight = m.conv.weight
    weight = weight / (weight.std(dim=(1, 2, 3), keepdim=True) + 1e-5)
    return functional.conv2d(x, weight, padding=1)


def with_a_token(m, x):
    tokens = m.patches(x).flatten(2).transpose(1, 2)
    tokens = torch.cat([m.token.expand(x.shape[0], -1, -1), tokens], dim=1)
    return m.head(m.norm(tokens)[:, 0])


def attended(m, x):
    tokens = x.flatten(2).transpose(1, 2)
    return m.attention(tokens, tokens, tokens)[0]


def told_by_values(m, x):
    return m.conv(x) if bool((m.conv.weight > -1e9).all()) else x


class RatesFromNumbers(nn.Module):
    """Its constructor reads numbers out of tensors, as stochastic depth does in many networks."""

    def __init__(self):
        super().__init__()
        self.rates = [value.item() for value in torch.linspace(0, 0.5, 3)]
        self.layers = nn.Sequential(*(nn.Conv2d(4, 4, 3 if rate > 0.2 else 1) for rate in self.rates))

    def forward(self, x):
        return self.layers(x)


class WithoutInference(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3)
        self.head = nn.Linear(6, 3)

    @torch.inference_mode()
    def forward(self, x):
        return self.head(functional.relu6(self.conv(x)).mean((2, 3)))


conv, norm = nn.Conv2d, nn.BatchNorm2d
NETWORKS = {
    "chain": lambda: nn.Sequential(conv(4, 6, 3, bias=False), norm(6), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
    "in place": lambda: Lambda(added_in_place, conv=conv(4, 4, 3, padding=1, bias=False), norm=norm(4)),
    "gate": lambda: Lambda(gated, down=conv(4, 2, 1), up=conv(2, 4, 1)),
    "shuffle": lambda: Lambda(shuffled, conv=conv(2, 2, 3, padding=1, groups=2)),
    "part": lambda: Lambda(written_into_a_part, conv=conv(4, 4, 3, padding=1), head=nn.Linear(512, 3)),
    "weights": lambda: Lambda(standardised, conv=conv(4, 8, 3, bias=False)),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 2, stride=2), nn.PReLU(6), conv(6, 2, (1, 3))),
    "dilated": lambda: nn.Sequential(conv(4, 6, 3, dilation=2), nn.GroupNorm(2, 6), nn.SiLU(), nn.MaxPool2d(2)),
    "one dimension": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 5, 3), nn.BatchNorm1d(5), nn.GELU()),
    "perceptron": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(256, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 2)
    ),
    "tokens": lambda: Lambda(
        with_a_token,
        patches=conv(4, 6, 4, stride=4),
        norm=nn.LayerNorm(6),
        head=nn.Linear(6, 3, bias=False),
        token=nn.Parameter(torch.zeros(1, 1, 6)),
    ),
    "attention": lambda: Lambda(attended, attention=nn.MultiheadAttention(4, 2, batch_first=True)),
    "shared": lambda: Lambda(lambda m, x: m.conv(m.conv(x)), conv=conv(4, 4, 3)),
    "read twice": lambda: Lambda(lambda m, x: m.norm(y := m.conv(x)) + y, conv=conv(4, 4, 3), norm=norm(4)),
    "upsampled": lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.ZeroPad2d(1), conv(4, 2, 3)),
    "einsum": lambda: Lambda(lambda m, x: torch.einsum("nchw,cd->ndhw", x, m.w), w=nn.Parameter(torch.ones(4, 5))),
    "values": lambda: Lambda(told_by_values, conv=conv(4, 4, 1)),
    "rates": RatesFromNumbers,
    "inference": WithoutInference,
}
SHAPE = (1, 4, 8, 8)


def graph_of(build, shape=SHAPE):
    return trace(lambda: (build(), shape))


def fvcore_counts(module, shape=SHAPE):
    analysis = FlopCountAnalysis(module.eval(), torch.zeros(shape))
    counted = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    return sum(counted[name] for name in PRODUCTS), parameter_count(module)[""]


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_and_shapes_are_those_of_the_module(name):
    graph = graph_of(NETWORKS[name])
    module = NETWORKS[name]().eval()
    costs = static_costs(graph)
    assert (costs.macs, costs.params) == fvcore_counts(module)
    with torch.no_grad():
        result = module(torch.zeros(SHAPE))
    by_name = {call.name: call.block.output for call in graph.calls}
    assert len(by_name) == len(graph.calls)
    assert by_name[graph.output].shape == tuple(result.shape)
    assert graph.connected
    known = {"input": graph.input, **by_name}
    assert all(tuple(known[item] for item in call.inputs) == call.block.inputs for call in graph.calls)
    features = physical_features(graph)
    assert features[FEATURES.index("macs")] == static_costs(graph.live()).macs


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_does_not_depend_on_how_it_was_traced(name):
    """Without numbers or with them, the first time or again, it is one network."""
    graph = graph_of(NETWORKS[name])
    with _quiet():
        assert fingerprint(_traced(NETWORKS[name](), SHAPE)) == fingerprint(graph)
    assert fingerprint(graph_of(NETWORKS[name])) == fingerprint(graph)


def test_different_networks_have_different_fingerprints():
    found = [fingerprint(graph_of(build)) for build in NETWORKS.values()]
    assert len(set(found)) == len(found)
    for change in (
        lambda: conv(4, 4, 3, padding=1, groups=2),
        lambda: conv(4, 4, 3, padding=1, bias=False),
        lambda: nn.Sequential(conv(4, 4, 3, padding=1), nn.ReLU()),
        lambda: nn.Sequential(conv(4, 4, 3, padding=1), nn.ReLU6()),
        lambda: nn.Sequential(conv(4, 4, 3, padding=1), nn.Hardtanh(-1, 1)),
        lambda: nn.Sequential(conv(4, 4, 3, padding=1), nn.Softmax(1)),
        lambda: nn.Sequential(conv(4, 4, 3, padding=1), nn.Softmax(2)),
    ):
        found.append(fingerprint(graph_of(change)))
    assert len(set(found)) == len(found)


def test_names_and_what_happens_in_place_are_no_part_of_the_network():
    def build(inplace, first):
        network = nn.Sequential()
        network.add_module(first, conv(4, 4, 3))
        network.add_module("act", nn.ReLU(inplace=inplace))
        return network, SHAPE

    variants = [partial(build, *item) for item in [(True, "a"), (False, "a"), (False, "b")]]
    assert len({fingerprint(trace(variant)) for variant in variants}) == 1


def test_known_operators_are_of_known_kinds():
    layers = nn.Sequential(
        conv(4, 8, 3, stride=2, padding=1, bias=False), norm(8), nn.ReLU(), nn.MaxPool2d(2), conv(8, 8, 1, groups=8)
    )
    network = Lambda(lambda m, x: m.head((m.layers(x) + m.layers(x)).mean((2, 3))), layers=layers, head=nn.Linear(8, 3))
    graph = graph_of(lambda: network)
    kinds = [operator.kind for _, operator in graph.operators]
    # The second use of a layer has no parameters of its own: it is no layer that we could build.
    assert kinds[:5] == ["conv2d", "batch_norm", "relu", "max_pool2d", "conv2d"]
    assert kinds[-3:] == ["add", "global_avg_pool", "linear"]
    assert [call.name for call in graph.calls][:2] == ["layers.0", "relu"]
    first = graph.calls[0].block.operators[0]
    assert (first.kernel, first.stride, first.padding, first.groups, first.bias) == (3, 2, 1, 1, False)


def test_a_normalisation_belongs_to_the_convolution_that_it_alone_reads():
    graph = graph_of(NETWORKS["chain"])
    assert [op.kind for op in graph.calls[0].block.operators] == ["conv2d", "batch_norm"]
    assert graph.calls[0].block.folded == {"conv2d": "batch_norm"}
    assert "batch_norm" in [call.block.operators[0].kind for call in graph_of(NETWORKS["read twice"]).calls]


def test_equal_blocks_are_one_object():
    """What is computed of a block is remembered by it."""
    first, second = graph_of(NETWORKS["in place"]), graph_of(NETWORKS["in place"])
    assert all(one.block is other.block for one, other in zip(first.calls, second.calls, strict=True))


def test_fused_attention_is_counted_by_its_products():
    """fvcore leaves it out; scores and weighted sum take tokens^2 x channels each."""
    tokens, channels = 64, 4
    network = Lambda(
        lambda m, x: functional.scaled_dot_product_attention(*(x.flatten(2).transpose(1, 2).unsqueeze(1),) * 3)
    )
    assert static_costs(graph_of(lambda: network)).macs == 2 * tokens**2 * channels


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda m, x: (x, x), "tuple"),
        (lambda m, x: torch.zeros(3), "does not depend"),
        (lambda m, x: m.conv.weight.sum(), "does not depend"),
        (lambda m, x: x, "does not depend"),
    ],
)
def test_what_is_no_network(function, what):
    with pytest.raises(ValueError, match=what):
        graph_of(lambda: Lambda(function, conv=conv(4, 4, 1)))


def test_an_input_that_does_not_fit_is_the_modules_own_error():
    with pytest.raises(RuntimeError, match="channels"):
        graph_of(lambda: conv(5, 4, 1))
    with pytest.raises(RuntimeError, match=r"size of tensor|must match"):
        graph_of(lambda: Lambda(added_in_place, conv=conv(4, 6, 3, padding=1), norm=norm(6)))


def test_tracing_leaves_everything_as_it_was():
    torch.manual_seed(3)
    state = torch.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled()
    fast = torch.backends.mha.get_fastpath_enabled()
    module = seeded(NETWORKS["attention"], 0)
    weights = [item.clone() for item in module.parameters()]
    seeded(lambda: graph_of(NETWORKS["rates"]), 0)
    graph_of(lambda: module)
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1:] == (torch.get_num_threads(), torch.is_grad_enabled())
    assert torch.backends.mha.get_fastpath_enabled() is fast
    assert all(torch.equal(a, b) for a, b in zip(weights, module.parameters(), strict=True))


widths = st.integers(1, 3).map(lambda n: 4 * n)
layers = st.tuples(widths, st.sampled_from([1, 3, 5]), st.integers(1, 2), st.booleans(), st.booleans(), st.booleans())


@settings(max_examples=25, deadline=None)
@given(st.lists(layers, min_size=1, max_size=4), st.integers(1, 2))
def test_random_chains_are_counted_as_fvcore_does(found, batch):
    def build():
        before, parts = 4, []
        for width, kernel, stride, depthwise, biased, normed in found:
            after = before if depthwise else width
            groups = before if depthwise else 1
            parts.append(conv(before, after, kernel, stride, kernel // 2, groups=groups, bias=biased))
            parts += [norm(after)] * normed + [nn.ReLU()]
            before = after
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 3))

    shape = (batch, *SHAPE[1:])
    costs = static_costs(graph_of(build, shape))
    assert (costs.macs, costs.params) == fvcore_counts(build(), shape)


def test_new_normalisations_take_the_statistics_of_a_batch():
    def build():
        parts = ((conv(4, 4, 3, padding=1, bias=False), norm(4), nn.ReLU()) for _ in range(30))
        return nn.Sequential(*(part for group in parts for part in group))

    module = seeded(build, 0)
    x = torch.randn(2, *SHAPE[1:], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = module.eval()(x).abs().max().item()
        settle(module, SHAPE, seed=0)
        after = module.eval()(x).abs().max().item()
    assert before < 1e-6 and after > 0.1
    assert module[1].momentum == 0.1 and int(module[1].num_batches_tracked) == 0
    trained = norm(4)
    trained.running_mean += 1
    settle(trained, SHAPE, seed=0)
    assert torch.equal(trained.running_mean, torch.ones(4)), "what was trained is left alone"


def test_a_network_of_one_batch_size_keeps_its_statistics():
    network = nn.Sequential(norm(4), Lambda(lambda m, x: x.view(1, 4, 8, 8)))
    settle(network, SHAPE, seed=0)
    assert torch.equal(network[0].running_mean, torch.zeros(4))
    assert network[0].momentum == 0.1
