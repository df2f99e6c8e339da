"""The indicators on networks whose scores can be worked out by hand, and against their plain forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks._plain_indicators import plain_score
from hilnas import plugins
from hilnas.errors import UnknownName, UsageError
from search_spaces._graph import Call, Graph, TensorSpec
from search_spaces.fbnet import FBNet
from search_spaces.nasbench201 import NasBench201
from searchers.evaluators.zero_cost import ZeroCost
from searchers.evaluators.zero_cost._base import Indicator
from searchers.evaluators.zero_cost._correlation import count_score, eigen_score
from searchers.evaluators.zero_cost._torch import input_batch
from searchers.evaluators.zero_cost.cj import Cj, cutouts
from searchers.evaluators.zero_cost.cnntk import Cnntk, eigenvalue_ratio, weight_gradients
from searchers.evaluators.zero_cost.jacov import Jacov
from searchers.evaluators.zero_cost.logsynflow import LogSynflow
from searchers.evaluators.zero_cost.nlr import Nlr
from searchers.evaluators.zero_cost.nwot import Nwot
from searchers.evaluators.zero_cost.os import Os
from searchers.evaluators.zero_cost.synflow import Synflow

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|"
#: Node 2 gets only zeros; the convolution behind it is fed by nothing that depends on the input.
HALF_DEAD = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
SKIP_ONLY = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
#: Quick settings of each indicator that runs a network.
QUICK = {
    Nwot: {"batch": 8},
    Jacov: {"batch": 8},
    Cj: {"batch": 8},
    Cnntk: {"batch": 6, "repeats": 2},
    Nlr: {"points": 50, "repeats": 2},
    Os: {"batch": 4, "draws": 3},
    Synflow: {},
    LogSynflow: {},
}
#: An input of 2 x 4 x 4 for modules made by hand; what computes it is never looked at.
PLAIN = Graph(TensorSpec((1, 2, 4, 4)), (Call("unused", None, ("input",)),))


class Linear(nn.Module):
    """The flattened input times a matrix."""

    def __init__(self, outputs, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn((outputs, 32), generator=generator))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T


class Squares(nn.Module):
    """Half the squares of all inputs: the gradient of their sum is the input."""

    def forward(self, x):
        return 0.5 * x.flatten(1) ** 2


@pytest.fixture(scope="module")
def space():
    return NasBench201(width=4, depth=1, resolution=16)


@pytest.fixture(scope="module")
def graph(space):
    return space.graph(space.parse(CELL))


def noise(n, seed=0):
    return input_batch("noise", PLAIN.input.shape, n, seed)


def test_cj_counts_pairs_of_cutouts_whose_gradients_hardly_agree():
    found = Cj(batch=12, inputs="noise", beta=0.8).score(PLAIN, lambda _seed: Squares())
    rows = cutouts(noise(12)[:1], 12, 0).flatten(1).double().numpy()
    correlation = np.corrcoef(rows)
    expected = sum(0 < correlation[i, j] < 0.8 for i in range(12) for j in range(12))
    assert found == expected > 0


def test_cj_of_a_linear_network_is_zero():
    """All its gradients are equal, so every correlation is 1."""
    assert Cj(batch=8).score(PLAIN, lambda _seed: Linear(3)) == 0


def test_cj_in_eigenvalues_is_jacov_on_as_many_inputs(graph):
    assert Cj(batch=8, variant="eigen", seed=4).score(graph) == Jacov(batch=8, seed=4).score(graph)


def test_scores_of_a_correlation_matrix():
    matrix = torch.tensor([[1.0, 0.2, -0.1], [0.2, 1.0, 0.3], [-0.1, 0.3, 1.0]], dtype=torch.float64)
    assert count_score(matrix, 0.25) == 2
    assert count_score(matrix, 0.5) == 4
    assert eigen_score(torch.eye(4)) == pytest.approx(-4 * (math.log(1 + 1e-5) + 1 / (1 + 1e-5)))
    matrix[0, 1] = torch.nan
    assert math.isnan(count_score(matrix, 0.25))
    assert math.isnan(eigen_score(matrix))


def test_a_cutout_is_a_hole_of_half_the_sides():
    picture = torch.arange(1.0, 1 + 2 * 8 * 12).reshape(1, 2, 8, 12)
    copies = cutouts(picture, 64, 0)
    hole = (copies == 0)[:, 0]
    assert torch.equal(copies, torch.where(hole[:, None], 0.0, picture))
    sizes = {(int(item.any(1).sum()), int(item.any(0).sum())) for item in hole}
    assert max(sizes) == (4, 6)
    assert all(int(item.sum()) == item.any(1).sum() * item.any(0).sum() for item in hole)
    assert len({tuple(item.flatten().tolist()) for item in hole}) > 32


def test_cnntk_of_a_linear_network_is_that_of_its_inputs():
    """The gradient of a matrix is the input, so the kernel is their Gram matrix, whatever the weights."""
    inputs = noise(5).flatten(1).double().numpy()
    values = np.linalg.eigvalsh(inputs @ inputs.T)
    found = Cnntk(batch=5, inputs="noise").score(PLAIN, lambda seed: Linear(3, seed))
    assert found == pytest.approx(values[0] / values[-1], rel=1e-5)


def test_gradients_of_weights_see_the_batch_through_its_normalisation():
    """In training mode each output depends on all inputs: one backward pass for all would miss that."""
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
    inputs = noise(4)
    outputs = module(inputs).sum(1)
    rows = [torch.autograd.grad(item, [module[0].weight, module[1].weight], retain_graph=True) for item in outputs]
    expected = torch.stack([torch.cat([item.flatten() for item in row]) for row in rows])
    found = weight_gradients(module, inputs)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    alone = torch.autograd.grad(module.eval()(inputs).sum(1)[0], module[0].weight)[0]
    assert not torch.allclose(found[0, : alone.numel()], alone.flatten(), rtol=1e-2)


def test_the_ratio_of_eigenvalues_is_bounded():
    assert eigenvalue_ratio(torch.eye(3)) == pytest.approx(1)
    assert eigenvalue_ratio(torch.ones(3, 7)) == 1e-12
    assert math.isnan(eigenvalue_ratio(torch.zeros(3, 7)))
    assert math.isnan(eigenvalue_ratio(torch.full((3, 7), torch.inf)))


class Hinges(nn.Module):
    """ReLUs that switch where the path has gone a quarter, half and three quarters of its way."""

    def __init__(self, start, end):
        super().__init__()
        self.start, self.way = start, end - start

    def forward(self, x):
        share = ((x - self.start) * self.way).sum((1, 2, 3)) / (self.way**2).sum()
        return torch.relu(share[:, None] - torch.tensor([0.25, 0.5, 0.75]))


def test_nlr_counts_the_regions_of_the_path():
    indicator = Nlr(inputs="noise", points=100)
    path = indicator.path(PLAIN)
    assert torch.equal(path[0], noise(2)[0])
    assert torch.allclose(path[-1], noise(2)[1])
    assert indicator.score(PLAIN, lambda _seed: Hinges(path[0], path[-1])) == 4


def test_relus_of_one_tensor_switch_together():
    indicator = Nlr(inputs="noise", points=100)
    path = indicator.path(PLAIN)

    class Twice(Hinges):
        def forward(self, x):
            return super().forward(x) + super().forward(x)

    assert indicator.score(PLAIN, lambda _seed: Twice(path[0], path[-1])) == 4


def test_regions_are_the_different_patterns_where_points_are_dense():
    """On a straight way no region is entered twice, so its patterns can be counted as well."""
    space = NasBench201(width=1, depth=1, resolution=4)
    graph = space.graph(space.parse("|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|"))
    indicator = Nlr(points=20_000, repeats=1)
    codes = []
    with indicator.reproducible(0), torch.no_grad():
        module = indicator.untrained(graph, None, 0)
        for layer in module.layers.values():
            if isinstance(layer, nn.ReLU):
                layer.register_forward_hook(lambda _m, _i, out: codes.append((out > 0).flatten(1)))
        module(indicator.path(graph))
    patterns = len(torch.unique(torch.cat(codes, dim=1), dim=0))
    assert patterns <= indicator.score(graph) <= 1.1 * patterns


def test_a_path_goes_through_all_inputs():
    path = Nlr(inputs="noise", batch=3, points=5).path(PLAIN)
    first, second, third = noise(3)
    expected = torch.stack([first, (first + second) / 2, second, (second + third) / 2, third])
    assert torch.allclose(path, expected, atol=1e-6)


def test_output_sensitivity_of_a_linear_network():
    """The mean error is the matrix times the mean noise."""
    module = Linear(4)
    found = Os(batch=3, draws=5, sigma=0.3, inputs="noise").score(PLAIN, lambda _seed: module)
    drawn = 0.3 * torch.randn((5, 3, 2, 4, 4), generator=torch.Generator().manual_seed(0)).double()
    errors = drawn.mean(0).flatten(1) @ module.weight.detach().double().T
    expected = float(errors.var(dim=1).mean())
    assert found == pytest.approx(expected, rel=1e-4)


def test_one_output_has_no_sensitivity():
    assert math.isnan(Os(batch=3).score(PLAIN, lambda _seed: Linear(1)))


def test_synflow_is_the_flow_through_all_paths_once_a_layer():
    """Of two layers each carries all of the output of the network of absolute weights; normalisation does not count."""

    def build(_seed):
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(32, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3, bias=False))

    first, second = (build(0)[i].weight.detach().double().abs().numpy() for i in (1, 4))
    bias = build(0)[1].bias.detach().double().abs().numpy()
    paths, through_bias = (second @ first).sum(), (second @ bias).sum()
    # The second layer also carries what the first one's bias adds.
    assert Synflow().score(PLAIN, build) == pytest.approx(math.log(paths + paths + through_bias), rel=1e-9)


def test_logsynflow_takes_the_logarithm_of_every_gradient():
    """Of a linear layer every gradient is what comes in, here ones: each weight counts ln 2 times."""

    def build(_seed):
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(32, 6, bias=False), nn.Linear(6, 3, bias=False))

    first, second = (build(0)[i].weight.detach().double().abs().numpy() for i in (1, 2))
    into_second, out_of_first = first.sum(axis=1), second.sum(axis=0)
    expected = (first * np.log1p(out_of_first)[:, None]).sum() + (second * np.log1p(into_second)).sum()
    assert LogSynflow().score(PLAIN, build) == pytest.approx(math.log(expected), rel=1e-9)


@pytest.mark.parametrize("kind", [Synflow, LogSynflow])
def test_nothing_flows_through_zeros(kind):
    module = Linear(2)
    nn.init.zeros_(module.weight)
    assert kind().score(PLAIN, lambda _seed: module) == -math.inf


@pytest.mark.parametrize("kind", [Cj, Cnntk, Nlr])
@pytest.mark.parametrize(
    "cell", [CELL, HALF_DEAD, "|nor_conv_1x1~0|+|avg_pool_3x3~0|nor_conv_3x3~1|+|none~0|skip_connect~1|skip_connect~2|"]
)
def test_vectorised_values_are_those_of_the_plain_form(kind, cell, space):
    indicator = kind(**QUICK[kind])
    graph = space.graph(space.parse(cell))
    name = kind.__module__.rpartition(".")[2]
    assert indicator.score(graph) == pytest.approx(plain_score(name, indicator, graph), rel=1e-4)


def test_the_eigenvalue_variant_has_the_same_plain_form(graph):
    indicator = Cj(batch=8, variant="eigen")
    assert indicator.score(graph) == pytest.approx(plain_score("cj", indicator, graph), rel=1e-3)


@pytest.mark.parametrize("kind", QUICK)
def test_the_same_seed_gives_the_same_bits_and_another_one_another_score(kind, graph):
    options = {**QUICK[kind], "seed": 3}
    assert kind(**options).score(graph) == kind(**options).score(graph)
    assert len({kind(**{**options, "seed": seed}).score(graph) for seed in range(4)}) > 1


@pytest.mark.parametrize("kind", QUICK)
def test_a_cell_that_is_mostly_dead_has_a_score(kind, space):
    for text in (HALF_DEAD, SKIP_ONLY):
        assert math.isfinite(kind(**QUICK[kind]).score(space.graph(space.parse(text))))


@pytest.mark.parametrize("kind", [Nwot, Nlr, Jacov, Cj])
def test_what_is_dead_changes_nothing(kind, space):
    """The convolution that reads only zeros adds a constant: patterns and gradients do not know of it."""
    half, skip = (kind(**QUICK[kind]).score(space.graph(space.parse(text))) for text in (HALF_DEAD, SKIP_ONLY))
    assert half == pytest.approx(skip, rel=1e-5)


def test_the_thin_network_is_as_small_as_the_space_allows():
    small = ZeroCost(NasBench201(), indicator="nlr").describe()["space_options"]
    assert (small["width"], small["depth"], small["resolution"]) == (1, 1, 8)
    wanted = ZeroCost(NasBench201(), indicator="nlr", proxy={"resolution": 16}).describe()["space_options"]
    assert (wanted["width"], wanted["resolution"]) == (1, 16)
    assert ZeroCost(FBNet(imagenet=1), indicator="nlr").describe()["space_options"]["resolution"] == 224


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="torch cannot compute on 'quantum'"):
        Nwot(device="quantum")
    with pytest.raises(UsageError, match="batch=1"):
        Jacov(batch=1)
    with pytest.raises(UnknownName, match="kind of inputs 'cats'"):
        Nwot(inputs="cats")
    with pytest.raises(UsageError, match="names no folder"):
        Nwot(inputs="images")
    with pytest.raises(UnknownName, match="variant"):
        Cj(variant="sum")
    for kind, options in ((Cnntk, {"repeats": 0}), (Nlr, {"points": 1}), (Os, {"draws": 0}), (Os, {"sigma": 0.0})):
        with pytest.raises(UsageError):
            kind(**options)


def test_more_inputs_than_there_are_is_an_error():
    with pytest.raises(UsageError, match="there are 1797"):
        input_batch("digits", (1, 3, 8, 8), 2000, 0)


@pytest.fixture
def pictures(tmp_path):
    """Return a folder with 40 colour pictures of 12 x 12 in two classes."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.integers(0, 256, (40, 12, 12, 3), dtype=np.uint8), y=np.arange(40) % 2)
    return tmp_path


def test_pictures_of_a_folder_are_inputs(pictures, space):
    evaluator = ZeroCost(space, indicator="nwot", settings={"batch": 8, "data": str(pictures)})
    cell = space.parse(CELL)
    (found,) = evaluator.evaluate([cell])
    (digits,) = ZeroCost(space, indicator="nwot", settings={"batch": 8}).evaluate([cell])
    assert found.cause is None
    assert found != digits
    source = evaluator.describe()
    assert (source["settings"]["inputs"], source["settings"]["data"]) == ("images", str(pictures))
    assert len(source["data_sha256"]) == 16


def test_pictures_are_standardised_and_fitted(pictures):
    found = input_batch("images", (1, 1, 6, 6), 10, 0, str(pictures))
    assert found.shape == (10, 1, 6, 6)
    assert abs(found.mean().item()) < 1e-5
    assert abs(found.std().item() - 1) < 1e-4


def test_scores_of_other_pictures_are_not_found_in_the_cache(pictures, space, tmp_path_factory):
    from searchers.evaluators.zero_cost._torch import _pictures

    cache, settings = tmp_path_factory.mktemp("scores"), {"batch": 8, "data": str(pictures)}
    (first,) = ZeroCost(space, settings=settings, cache=cache).evaluate([space.parse(CELL)])
    rng = np.random.default_rng(1)
    np.savez(pictures / "data.npz", x=rng.integers(0, 256, (40, 12, 12, 3), dtype=np.uint8), y=np.arange(40) % 2)
    for cached in (_pictures, input_batch):  # a new process
        cached.cache_clear()
    (second,) = ZeroCost(space, settings=settings, cache=cache).evaluate([space.parse(CELL)])
    assert first != second
    assert len(list(cache.glob("nwot-*.jsonl"))) == 2


def test_every_indicator_is_quick_here():
    """So that whoever adds one also adds it to the tests above."""
    names = {kind.__module__.rpartition(".")[2] for kind in QUICK}
    # These only walk over the graph.
    running = set(plugins.names("searchers.evaluators.zero_cost")) - {"macs", "live_macs", "skip_span"}
    assert names == running
    assert all(issubclass(kind, Indicator) for kind in QUICK)
